"""Backlog, rate and age of the streaming service's messages, in the terminal, until Ctrl-C.

    scripts/watch                      # this machine
    scripts/watch --environment prod   # backlog and age from Cloud Monitoring

The emulator has no metrics. On this machine the backlog is the number of messages published since the command
started, counted on a temporary subscription, minus those that the service has settled; the age is that of the
oldest message in progress, from the service's own metrics.
"""

import collections
import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final

import httpx
from google import pubsub_v1
from google.auth.transport.requests import AuthorizedSession
from prometheus_client.parser import text_string_to_metric_families
from rich.live import Live
from rich.table import Table

from infra.environment import Environment
from scripts.command import MESSAGES_TARGET, CommandError, command, use_environment
from scripts.deployment.access import check_login
from scripts.messages.subscriptions import take, temporary
from services.contracts import metrics, names

MONITORING: Final = "https://monitoring.googleapis.com/v3/projects/{}/timeSeries"
_WINDOW_SECONDS: Final = 600


@dataclass(frozen=True)
class Snapshot:
    """Numbers of messages at one moment, and the age of the oldest."""

    backlog: float
    settled: float  # since a fixed moment in the past
    dead: float  # dead letters: those that wait (cloud), or were published since the start (local)
    oldest_seconds: float


def settled_and_oldest(url: str) -> tuple[float, float]:
    """Messages that the service has settled since it started, and the age of the oldest in progress."""
    try:
        text = httpx.get(f"{url}{names.METRICS_PATH}", timeout=5).raise_for_status().text
    except httpx.HTTPError as error:
        raise CommandError(f"{url}: {error}; look at `make status`") from None
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    settled = sum(
        each.value
        for each in samples
        if each.name == f"{metrics.MESSAGES}_total" and each.labels["outcome"] != "released"
    )
    return settled, sum(each.value for each in samples if each.name == metrics.OLDEST_MESSAGE_AGE)


@contextlib.contextmanager
def counted(project: str, *topics: str) -> Generator[Callable[[str], int]]:
    """Count messages published on topics while the block runs; yields a function of the topic."""
    subscriber = pubsub_v1.SubscriberClient()
    seen = dict.fromkeys(topics, 0)
    with contextlib.ExitStack() as stack:
        paths = {
            topic: stack.enter_context(temporary(subscriber, project, topic, "watch")) for topic in topics
        }

        def count(topic: str) -> int:
            while taken := take(subscriber, paths[topic], wait=False):
                seen[topic] += len(taken)
            return seen[topic]

        yield count


def local(environment: Environment) -> Generator[Snapshot]:
    """Snapshots of the service on this machine."""
    url = f"http://127.0.0.1:{environment.streaming.port}"
    last, _ = settled_and_oldest(url)
    settled = 0.0
    with counted(environment.project_id, names.SALE_RANGE_TOPIC, names.DEAD_LETTER_TOPIC) as count:
        while True:
            total, oldest = settled_and_oldest(url)
            settled += total - last if total >= last else total  # a service that restarts counts from zero
            last = total
            backlog = max(0.0, count(names.SALE_RANGE_TOPIC) - settled)
            yield Snapshot(backlog, settled, count(names.DEAD_LETTER_TOPIC), oldest)


def cloud(environment: Environment) -> Generator[Snapshot]:
    """Snapshots from Cloud Monitoring, which are a minute or two old."""
    session = AuthorizedSession(check_login())

    def points(metric: str, subscription: str) -> list[tuple[str, float]]:
        """End (ISO 8601) and value of every point of the last ten minutes."""
        now = time.time()
        query = {
            "filter": f'metric.type="pubsub.googleapis.com/subscription/{metric}" '
            f'AND resource.labels.subscription_id="{subscription}"'
        }
        for name, moment in (("start", now - _WINDOW_SECONDS), ("end", now)):
            query[f"interval.{name}Time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
        answer = session.get(MONITORING.format(environment.project_id), params=query, timeout=10)
        if not answer.ok:
            raise CommandError(f"Cloud Monitoring: {answer.status_code} {answer.text[:200]}")
        # There is one series per combination of labels, such as the type of delivery.
        return [
            (point["interval"]["endTime"], float(point["value"]["int64Value"]))
            for series in answer.json().get("timeSeries", [])
            for point in series["points"]
        ]

    def newest(metric: str, subscription: str) -> float:
        return max(points(metric, subscription), default=("", 0.0))[1]

    settled = 0.0
    counted_until: str | None = None
    while True:
        acknowledged = points("ack_message_count", names.PREDICT_RANGE_SUBSCRIPTION)
        if counted_until is not None:
            settled += sum(number for end, number in acknowledged if end > counted_until)
        counted_until = max((end for end, _ in acknowledged), default=counted_until or "")
        yield Snapshot(
            newest("num_undelivered_messages", names.PREDICT_RANGE_SUBSCRIPTION),
            settled,
            newest("num_undelivered_messages", names.DEAD_LETTER_TOPIC),
            newest("oldest_unacked_message_age", names.PREDICT_RANGE_SUBSCRIPTION),
        )


def show(snapshots: Sequence[tuple[float, Snapshot]]) -> Table:
    """The last snapshot, and the rate since the first."""
    when, now = snapshots[-1]
    first, then = snapshots[0]
    rate = (now.settled - then.settled) / (when - first) if when > first else 0.0
    table = Table("", "now", title=time.strftime("%H:%M:%S"))
    table.add_row("backlog", f"{now.backlog:,.0f} messages")
    table.add_row("rate", f"{rate:,.1f} messages/s")
    table.add_row("oldest message", f"{now.oldest_seconds:,.1f} s")
    table.add_row("dead letters", f"[red]{now.dead:,.0f}[/]" if now.dead else "0")
    return table


@command("watch", MESSAGES_TARGET)
def main(target: Environment) -> int:
    """Show snapshots until Ctrl-C; 1 if the measures cannot be read."""
    snapshots_of, pause = (local, 1.0) if target.simulated else (cloud, 60.0)
    recent = collections.deque[tuple[float, Snapshot]](maxlen=10)
    with (
        contextlib.suppress(KeyboardInterrupt),
        contextlib.closing(snapshots_of(use_environment(target))) as snapshots,
        Live(auto_refresh=False) as live,
    ):
        for snapshot in snapshots:
            recent.append((time.monotonic(), snapshot))
            live.update(show(recent), refresh=True)
            time.sleep(pause)
    return 0
