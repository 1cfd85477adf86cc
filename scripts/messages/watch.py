"""What the streaming service is doing, in the terminal, until Ctrl-C.

    scripts/watch                      # this machine
    scripts/watch --environment prod   # backlog and age from Cloud Monitoring

On this machine the service's own metrics are read: the emulator does not tell how much waits. The backlog is
then what this command saw being published since it started, through a subscription of its own that is removed
in the end, less what the service has settled meanwhile; the age is that of the oldest message being answered.
"""

import argparse
import contextlib
import sys
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final

import google.auth
import google.auth.transport.requests
import httpx
from google import pubsub_v1
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.protobuf import duration_pb2
from prometheus_client.parser import text_string_to_metric_families
from rich.live import Live
from rich.table import Table

from infra.environment import Environment
from scripts.messages import environment_option as target
from services.contracts import metrics, names

MONITORING: Final = "https://monitoring.googleapis.com/v3/projects/{}/timeSeries"
_SCOPE: Final = "https://www.googleapis.com/auth/monitoring.read"
_WINDOW_SECONDS: Final = 600
_EXPIRY_SECONDS: Final = 24 * 3600


class WatchError(Exception):
    """There is nothing to see; the message says why."""


@dataclass(frozen=True)
class Sight:
    """One look.

    Attributes:
        backlog: Messages that wait.
        settled: Messages settled since some moment in the past.
        dead: Dead letters that wait, or were seen.
        oldest_seconds: Age of the oldest message.
    """

    backlog: float
    settled: float
    dead: float
    oldest_seconds: float


def own_metrics(url: str) -> dict[str, float]:
    """The service's metrics, each summed over its labels, and `name/outcome` for messages.

    Raises:
        WatchError: it does not answer.
    """
    try:
        text = httpx.get(f"{url}{names.METRICS_PATH}", timeout=5).raise_for_status().text
    except httpx.HTTPError as error:
        raise WatchError(f"{url}: {error}; look at `make status`") from None
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            keys = [sample.name]
            if outcome := sample.labels.get("outcome"):
                keys.append(f"{sample.name}/{outcome}")
            for key in keys:
                totals[key] = totals.get(key, 0.0) + sample.value
    return totals


@contextlib.contextmanager
def counted(project: str, *topics: str) -> Generator[Callable[[str], int]]:
    """Count messages published on topics while the block runs; the value tells how many so far."""
    subscriber = pubsub_v1.SubscriberClient()
    paths = {topic: f"projects/{project}/subscriptions/watch-{uuid.uuid4().hex[:12]}" for topic in topics}
    seen = dict.fromkeys(topics, 0)

    def count(topic: str) -> int:
        while True:
            try:
                # At once, or not at all: what waits is looked at, nothing is waited for.
                request: Any = {
                    "subscription": paths[topic],
                    "max_messages": 1000,
                    "return_immediately": True,
                }
                received = subscriber.pull(request=request, retry=None, timeout=5).received_messages
            except exceptions.DeadlineExceeded:
                return seen[topic]
            if not received:
                return seen[topic]
            subscriber.acknowledge(subscription=paths[topic], ack_ids=[each.ack_id for each in received])
            seen[topic] += len(received)

    try:
        for topic, path in paths.items():
            expiry = pubsub_v1.ExpirationPolicy(ttl=duration_pb2.Duration(seconds=_EXPIRY_SECONDS))
            subscriber.create_subscription(
                request=pubsub_v1.Subscription(
                    name=path, topic=f"projects/{project}/topics/{topic}", expiration_policy=expiry
                )
            )
        yield count
    finally:
        for path in paths.values():
            with contextlib.suppress(exceptions.NotFound):
                subscriber.delete_subscription(subscription=path)


@contextlib.contextmanager
def local(environment: Environment) -> Generator[Callable[[], Sight]]:
    """Looks at the service on this machine."""
    url = f"http://127.0.0.1:{environment.streaming.port}"
    settled = (f"{metrics.MESSAGES}_total/acknowledged", f"{metrics.MESSAGES}_total/duplicate")

    def total() -> tuple[float, float]:
        seen = own_metrics(url)
        return sum(seen.get(name, 0.0) for name in settled), seen.get(metrics.OLDEST_MESSAGE_AGE, 0.0)

    before, _ = total()
    with counted(environment.project_id, names.SALE_RANGE_TOPIC, names.DEAD_LETTER_TOPIC) as count:

        def look() -> Sight:
            done, oldest = total()
            waiting = max(0.0, count(names.SALE_RANGE_TOPIC) - (done - before))
            return Sight(waiting, done, count(names.DEAD_LETTER_TOPIC), oldest)

        yield look


@contextlib.contextmanager
def cloud(environment: Environment) -> Generator[Callable[[], Sight]]:
    """Looks at Cloud Monitoring, whose figures are a minute or two old."""
    credentials, _ = google.auth.default(scopes=[_SCOPE])
    session = google.auth.transport.requests.AuthorizedSession(credentials)

    def points(metric: str, subscription: str) -> list[tuple[str, float]]:
        """When each point of the last minutes ends, as text in order of time, and its value."""
        now = time.time()
        moments = {"start": now - _WINDOW_SECONDS, "end": now}
        query = {
            "filter": f'metric.type="pubsub.googleapis.com/subscription/{metric}" '
            f'AND resource.labels.subscription_id="{subscription}"',
            **{
                f"interval.{name}Time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
                for name, moment in moments.items()
            },
        }
        answer = session.get(MONITORING.format(environment.project_id), params=query, timeout=10)
        if not answer.ok:
            raise WatchError(f"Cloud Monitoring: {answer.status_code} {answer.text[:200]}")
        # Several series differ by labels of the metric, such as how messages are delivered.
        return [
            (point["interval"]["endTime"], float(point["value"]["int64Value"]))
            for series in answer.json().get("timeSeries", [])
            for point in series["points"]
        ]

    def newest(metric: str, subscription: str) -> float:
        return max(points(metric, subscription), default=("", 0.0))[1]

    settled = 0.0
    counted_until: str | None = None

    def look() -> Sight:
        nonlocal settled, counted_until
        acknowledged = points("ack_message_count", names.PREDICT_RANGE_SUBSCRIPTION)
        if counted_until is not None:
            settled += sum(number for end, number in acknowledged if end > counted_until)
        counted_until = max((end for end, _ in acknowledged), default=counted_until or "")
        return Sight(
            newest("num_undelivered_messages", names.PREDICT_RANGE_SUBSCRIPTION),
            settled,
            newest("num_undelivered_messages", names.DEAD_LETTER_TOPIC),
            newest("oldest_unacked_message_age", names.PREDICT_RANGE_SUBSCRIPTION),
        )

    yield look


def show(sights: list[tuple[float, Sight]]) -> Table:
    """The last look, and how fast it goes."""
    when, now = sights[-1]
    first, then = sights[0]
    rate = (now.settled - then.settled) / (when - first) if when > first else 0.0
    table = Table("", "now", title=time.strftime("%H:%M:%S"))
    table.add_row("backlog", f"{now.backlog:,.0f} messages")
    table.add_row("rate", f"{rate:,.1f} messages/s")
    table.add_row("oldest message", f"{now.oldest_seconds:,.1f} s")
    table.add_row("dead letters", f"[red]{now.dead:,.0f}[/]" if now.dead else "0")
    return table


def main() -> int:
    """Returns 1 if there is nothing to see."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    target.add_argument(parser)
    parser.add_argument("--looks", type=int, help="end after so many; default: at Ctrl-C")
    options = parser.parse_args()
    try:
        environment = target.load(options.environment)
        pause = 1.0 if environment.simulated else 60.0
        with (
            (local if environment.simulated else cloud)(environment) as look,
            Live(auto_refresh=False) as live,
        ):
            sights = [(time.monotonic(), look())]
            while True:
                live.update(show(sights), refresh=True)
                if options.looks == len(sights):
                    return 0
                time.sleep(pause)
                sights.append((time.monotonic(), look()))
                if options.looks is None:
                    sights = sights[-10:]
    except KeyboardInterrupt:
        return 0
    except (WatchError, GoogleAuthError, *target.UNUSABLE) as error:
        return target.fail("watch", error)


if __name__ == "__main__":
    sys.exit(main())
