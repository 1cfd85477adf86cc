"""The streaming service compared with other clients, on Google's Pub/Sub emulator.

Each client answers the same requests with the same model: an active request for 30 days of one series, about
3 kB of reply. A client starts, answers one message and is stopped (SIGSTOP) while the other requests are
published; the CPU time of its process, user and system, is measured from then on. Every reply is compared
with the forecast.

- naive: the callback of the high-level SubscriberClient looks the forecast up, encodes it, waits for its
  publication and acknowledges.
- tuned: the same client with wide flow control and replies encoded once as ours are; it publishes in batches
  without waiting, and acknowledges when a publication is done.
- ours: `python -m services.streaming`.
"""

import contextlib
import functools
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from google import pubsub_v1
from google.api_core import exceptions

from infra.simulator import emulators, processes
from scripts.bench import harness, model
from scripts.bench.harness import MEBIBYTE
from scripts.bench.model import BUCKET, PROJECT
from scripts.bench.streaming_clients import CLIENTS, DAYS
from scripts.command import CommandError, command, command_parser
from scripts.own_emulators import own_emulators
from scripts.paths import ROOT
from services.contracts.messages import SalePrediction, SaleRangeRequest
from services.contracts.names import REQUEST_ID_ATTRIBUTE
from services.contracts.settings import StreamingSettings, to_environment
from services.forecasting.forecast import Forecast

OURS: Final = "ours"
MESSAGES: Final = 20_000
ROUNDS: Final = 2
ENDURANCE_ROUNDS: Final = 10
_BATCH: Final = 1000
_PATIENCE_SECONDS: Final = 180
_SETTLE_SECONDS: Final = 0.5  # after the last reply, for acknowledgements


@dataclass(frozen=True)
class Run:
    """Cost of the replies: CPU microseconds per message, messages per second, peak resident memory in MiB."""

    cpu_us: float
    messages_per_second: float
    peak_mib: float


class Requests:
    """Requests of one run: their topics and subscriptions, and the expected replies."""

    def __init__(self, forecast: Forecast) -> None:
        self._forecast = forecast
        self._publisher = pubsub_v1.PublisherClient()
        self._subscriber = pubsub_v1.SubscriberClient()
        unique = uuid.uuid4().hex[:8]
        name = f"projects/{PROJECT}/{{}}/{{}}-{unique}"
        self._topic = name.format("topics", "requests")
        self._replies = name.format("subscriptions", "replies")
        self.settings = StreamingSettings(
            model_bucket=BUCKET,
            subscription=name.format("subscriptions", "requests"),
            reply_topic=name.format("topics", "replies"),
            dead_letter_topic=name.format("topics", "dead"),
            predictions_table=f"{PROJECT}.predictions.predictions",
            host="127.0.0.1",
            port=emulators.free_port(),
        )
        self._expected: dict[str, tuple[str, str]] = {}
        self.create()

    def create(self) -> None:
        """Create topics and subscriptions; a restarted emulator has none."""
        for topic in (self._topic, self.settings.reply_topic, self.settings.dead_letter_topic):
            self._publisher.create_topic(name=topic)
        for subscription, topic in (
            (self.settings.subscription, self._topic),
            (self._replies, self.settings.reply_topic),
        ):
            self._subscriber.create_subscription(name=subscription, topic=topic, ack_deadline_seconds=60)

    def publish(self, number: int) -> None:
        """Publish requests for series chosen at random, the same in every run."""
        choice = random.Random(number)  # noqa: S311 -- the same in every run
        series = list(zip(self._forecast.store_nbr, self._forecast.family, strict=True))
        for begin in range(0, number, _BATCH):
            messages: list[pubsub_v1.PubsubMessage] = []
            for _ in range(begin, min(begin + _BATCH, number)):
                store, family = choice.choice(series)
                request = SaleRangeRequest(
                    request_id=uuid.uuid4().hex, range=DAYS, store_nbr=store, family=family, mode="active"
                )
                self._expected[request.request_id] = store, family
                messages.append(pubsub_v1.PubsubMessage(data=msgspec.json.encode(request)))
            self._publisher.publish(topic=self._topic, messages=messages)

    def collect(self, process: psutil.Popen) -> tuple[list[bytes], list[str]]:
        """Wait until every request has its reply; returns bodies and request ids in the order of arrival.

        Raises:
            CommandError: replies are missing after three minutes, or the client ended.
        """
        bodies: list[bytes] = []
        ids: list[str] = []
        missing = set(self._expected)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while missing:
            if time.monotonic() > deadline or process.poll() is not None:
                raise CommandError(f"{len(missing)} of {len(self._expected)} requests have no reply")
            try:
                pulled = self._subscriber.pull(
                    subscription=self._replies, max_messages=_BATCH, retry=None, timeout=5
                )
            except (exceptions.DeadlineExceeded, exceptions.ServiceUnavailable):
                continue
            received = pubsub_v1.PullResponse.pb(pulled).received_messages
            if not received:
                continue
            self._subscriber.acknowledge(
                subscription=self._replies, ack_ids=[each.ack_id for each in received]
            )
            bodies += [each.message.data for each in received]
            ids += [each.message.attributes[REQUEST_ID_ATTRIBUTE] for each in received]
            missing.difference_update(ids[-len(received) :])
        return bodies, ids

    def check(self, bodies: list[bytes], ids: list[str]) -> None:
        """Compare every reply with the forecast.

        Raises:
            CommandError: a reply is wrong.
        """
        right: dict[tuple[str, str], list[Any]] = {}
        for store, family in {*self._expected.values()}:
            series = self._forecast.select(store_nbr=[store], family=[family])
            right[store, family] = self._forecast.rows(DAYS, series.tolist())
        for body, request_id in zip(bodies, ids, strict=True):
            reply = msgspec.json.decode(body, type=SalePrediction)
            asked = self._expected[request_id]
            if reply.request_id != request_id or not reply.success or reply.prediction != right[asked]:
                raise CommandError(f"the reply to {request_id} ({asked}) is wrong: {body[:200]!r}")
        self._expected.clear()


@contextlib.contextmanager
def client(name: str, requests: Requests) -> Generator[psutil.Popen]:
    """Run a client until the block ends."""
    module = ("services.streaming",) if name == OURS else ("scripts.bench.streaming_clients", name)
    log = Path(os.environ["SIMULATOR_HOME"]) / f"{name}.log"
    with (
        log.open("ab") as output,
        psutil.Popen(
            (sys.executable, "-m", *module),
            cwd=ROOT,
            env={**os.environ, **to_environment(requests.settings)},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM if name == OURS else signal.SIGKILL)
            process.wait()


def restart_emulator() -> None:
    """Replace it by an empty one on the same port: acknowledged messages stay on its heap for a while."""
    running = processes.find(f"{emulators.KIND}.pubsub")
    if running is not None:  # a killed emulator restarts on its port; a stopped one gets another
        process = psutil.Process(running.pid)
        process.kill()
        process.wait()
    emulators.ensure()


def measure(name: str, forecast: Forecast) -> Run:
    """One client answers messages that are already published."""
    restart_emulator()
    requests = Requests(forecast)
    with client(name, requests) as process:
        requests.publish(1)
        requests.check(*requests.collect(process))
        process.send_signal(signal.SIGSTOP)
        requests.publish(MESSAGES)
        before = sum(process.cpu_times()[:2])
        begun = time.monotonic()
        process.send_signal(signal.SIGCONT)
        replies = requests.collect(process)
        elapsed = time.monotonic() - begun
        time.sleep(_SETTLE_SECONDS)
        used = sum(process.cpu_times()[:2]) - before
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak_kib = int(status.partition("VmHWM:")[2].split()[0])
        run = Run(used / MESSAGES * 1e6, MESSAGES / elapsed, peak_kib / 1024)
    requests.check(*replies)
    return run


def endurance(forecast: Forecast) -> list[float]:
    """Memory (PSS) of our service after each of several rounds of messages, MiB.

    The service keeps running while the emulator restarts between the rounds.
    """
    requests = Requests(forecast)
    memory: list[float] = []
    with client(OURS, requests) as process:
        for _ in range(ENDURANCE_ROUNDS):
            restart_emulator()
            requests.create()
            requests.publish(MESSAGES)
            requests.check(*requests.collect(process))
            memory.append(process.memory_full_info().pss / MEBIBYTE)
    return memory


@command("bench-streaming")
def main() -> int:
    """Measure, print and write the result; 1 if a reply is missing or wrong."""
    command_parser(__doc__).parse_args()
    with own_emulators():
        forecast = model.publish()
        measures = {name: functools.partial(measure, name, forecast) for name in (OURS, *CLIENTS)}
        medians = harness.interleave(measures, ROUNDS, warm_up=False)
        memory = endurance(forecast)
        title = f"{MESSAGES:,} active requests, {DAYS} days of one series, median of {ROUNDS}"
        harness.publish("streaming", title, medians, ours=OURS, pss_mib=memory)
        print(
            f"ours, PSS after every {MESSAGES:,} messages: {', '.join(f'{each:.0f}' for each in memory)} MiB"
        )
    return 0
