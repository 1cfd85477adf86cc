"""The streaming service against clients written by the book, on Google's Pub/Sub emulator.

Each answers the same requests with the same model: an active request for 30 days of one series, about 3 kB of
reply. A client starts, answers one message and is stopped (SIGSTOP) while the others are published; CPU is
what its process takes from then on, user and system. Every reply is compared with the forecast.

- naive: the callback of the high-level SubscriberClient looks the forecast up, encodes it, waits for its
  publication and acknowledges.
- tuned: the same client with wide flow control, answers encoded once as ours are, publications batched and
  not waited for, acknowledgement when they are done.
- ours: `python -m services.streaming`.
"""

import argparse
import collections
import contextlib
import datetime
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import psutil
from google import pubsub_v1
from google.api_core import exceptions
from google.cloud import pubsub_v1 as high_level
from google.cloud import storage
from rich.console import Console
from rich.table import Table

from infra.simulator import __main__ as simulator
from infra.simulator import emulators, processes
from scripts.paths import ROOT
from services.contracts.decoding import decode
from services.contracts.messages import ModelReference, SalePrediction, SaleRangeRequest
from services.contracts.model import Backtest, Score
from services.contracts.names import REQUEST_ID_ATTRIBUTE
from services.contracts.settings import StreamingSettings, from_environment, to_environment
from services.forecasting import artifact
from services.forecasting.artifact import Model
from services.forecasting.forecast import Forecast
from services.forecasting.history import History
from services.forecasting.model_registry import ModelRegistry
from services.streaming.replies import ModelReplies

RESULT: Final = ROOT / "build" / "bench" / "streaming.json"
PROJECT: Final = "bench"
BUCKET: Final = "bench-models"
OURS: Final = "ours"
PEERS: Final = ("naive", "tuned")
DAYS: Final = 30
MARKETS: Final = tuple(str(number) for number in range(1, 41))
PRODUCTS: Final = tuple("ABCDE")
MEBIBYTE: Final = 2**20
_BATCH: Final = 1000
_PATIENCE_SECONDS: Final = 180
_SETTLE_SECONDS: Final = 0.5  # after the last reply, for acknowledgements


@dataclass(frozen=True)
class Run:
    """What answering took: CPU microseconds a message, messages a second, most memory resident in MiB."""

    cpu_us: float
    messages_per_second: float
    peak_mib: float


class BenchError(Exception):
    """A client did not answer, or not rightly."""


def load() -> Model:
    """The published model, as the service loads it."""
    registry = ModelRegistry(BUCKET, PROJECT)
    pointer = registry.pointer()
    assert pointer is not None, "publish first"  # noqa: S101
    return registry.load(pointer[0].version)


def naive(settings: StreamingSettings) -> None:
    """By the book: look up, encode, publish, wait, acknowledge."""
    model = load()
    publisher = high_level.PublisherClient()
    subscriber = high_level.SubscriberClient()

    def callback(message: Any) -> None:
        request = msgspec.json.decode(message.data, type=SaleRangeRequest)
        series = model.forecast.select(store_nbr=[str(request.store_nbr)], family=[str(request.family)])
        rows = model.forecast.rows(request.range, series.tolist())
        version = ModelReference(model.manifest.version)
        reply = SalePrediction(request.request_id, True, version, rows)
        data = msgspec.json.encode(reply)
        publisher.publish(settings.reply_topic, data, request_id=request.request_id).result()
        message.ack()

    wait(subscriber.subscribe(settings.subscription, callback))


def tuned(settings: StreamingSettings) -> None:
    """The same client at its best: nothing is waited for, nothing is made twice."""
    replies = ModelReplies(load(), DAYS)
    publisher = high_level.PublisherClient(
        high_level.types.BatchSettings(max_messages=_BATCH, max_bytes=9_000_000, max_latency=0.05)
    )
    subscriber = high_level.SubscriberClient()

    def callback(message: Any) -> None:
        request = decode(message.data, message.message_id, DAYS)
        future = publisher.publish(
            settings.reply_topic, replies.reply(request), request_id=request.request_id
        )

        def acknowledge(_: "Future[str]") -> None:
            message.ack()

        future.add_done_callback(acknowledge)

    wait(
        subscriber.subscribe(
            settings.subscription,
            callback,
            flow_control=high_level.types.FlowControl(max_messages=10_000, max_bytes=100 * MEBIBYTE),
        )
    )


def wait(future: Any) -> None:
    """Go on until the process is ended."""
    print("ready", flush=True)
    future.result()


CLIENTS: Final[dict[str, Callable[[StreamingSettings], None]]] = {"naive": naive, "tuned": tuned}


def publish_model(folder: Path) -> Forecast:
    """A model of 200 series in the registry."""
    storage.Client(project=PROJECT).create_bucket(BUCKET)
    seed = np.random.default_rng(1)
    pairs = [(market, product) for market in sorted(MARKETS) for product in PRODUCTS]
    stores, families = zip(*pairs, strict=True)
    sales = np.round(seed.gamma(2.0, 10.0, (len(pairs), DAYS)), 3)
    first = datetime.date(2026, 1, 1)
    forecast = Forecast(
        version="bench",
        dates=tuple(first + datetime.timedelta(days=day) for day in range(DAYS)),
        store_nbr=stores,
        family=families,
        sales=sales,
        lower=np.round(sales / 2, 3),
        upper=np.round(sales * 2, 3),
    )
    history = History(
        dates=(first - datetime.timedelta(days=1),),
        sales=np.zeros((len(pairs), 1), dtype=np.float32),
    )
    score = Score(mase=1.0, wape=1.0, rmse=1.0)
    backtest = Backtest(
        horizon=DAYS,
        origins=[first],
        model={"total": score},
        seasonal_naive={"total": score},
        candidates={},
        chosen={},
        tuned="",
        coverage=0.8,
    )
    artifact.save(
        folder / "model",
        forecast,
        history,
        {},
        created_at=datetime.datetime.now(datetime.UTC),
        code_version="bench",
        data_fingerprint="bench",
        first_date=first - datetime.timedelta(days=100),
        interval=0.8,
        backtest=backtest,
    )
    registry = ModelRegistry(BUCKET, PROJECT)
    registry.upload(folder / "model")
    registry.publish("bench")
    return forecast


class Lane:
    """Topics and subscriptions of one run, and what the replies must be."""

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
            port=emulators.free_ports(("port",))["port"],
        )
        self._expected: dict[str, tuple[str, str]] = {}
        self.create()

    def create(self) -> None:
        """Create topics and subscriptions, of which a restarted emulator knows nothing."""
        for topic in (self._topic, self.settings.reply_topic, self.settings.dead_letter_topic):
            self._publisher.create_topic(name=topic)
        for subscription, topic in (
            (self.settings.subscription, self._topic),
            (self._replies, self.settings.reply_topic),
        ):
            self._subscriber.create_subscription(name=subscription, topic=topic, ack_deadline_seconds=60)

    def publish(self, number: int) -> None:
        """Publish requests."""
        choice = random.Random(number)  # noqa: S311 -- the same for all
        for begin in range(0, number, _BATCH):
            messages: list[pubsub_v1.PubsubMessage] = []
            for _ in range(begin, min(begin + _BATCH, number)):
                request = SaleRangeRequest(
                    request_id=uuid.uuid4().hex,
                    range=DAYS,
                    store_nbr=choice.choice(MARKETS),
                    family=choice.choice(PRODUCTS),
                    mode="active",
                )
                self._expected[request.request_id] = str(request.store_nbr), str(request.family)
                messages.append(pubsub_v1.PubsubMessage(data=msgspec.json.encode(request)))
            self._publisher.publish(topic=self._topic, messages=messages)

    def collect(self, process: subprocess.Popen[bytes]) -> tuple[list[bytes], list[str]]:
        """Wait until every request has its reply; returns replies and ids as they came.

        Raises:
            BenchError: they do not come.
        """
        bodies: list[bytes] = []
        ids: list[str] = []
        missing = set(self._expected)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while missing:
            if time.monotonic() > deadline or process.poll() is not None:
                raise BenchError(f"{len(missing)} of {len(self._expected)} requests have no reply")
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

    def check(self, bodies: list[bytes], ids: list[str]) -> int:
        """Compare every reply with the forecast; returns how many came more than once.

        Raises:
            BenchError: a reply is wrong.
        """
        right: dict[tuple[str, str], list[Any]] = {}
        for market in MARKETS:
            for product in PRODUCTS:
                series = self._forecast.select(store_nbr=[market], family=[product])
                right[market, product] = self._forecast.rows(DAYS, series.tolist())
        for body, request_id in zip(bodies, ids, strict=True):
            reply = msgspec.json.decode(body, type=SalePrediction)
            asked = self._expected[request_id]
            if reply.request_id != request_id or not reply.success or reply.prediction != right[asked]:
                raise BenchError(f"the reply to {request_id} ({asked}) is wrong: {body[:200]!r}")
        repeated = sum(count - 1 for count in collections.Counter(ids).values())
        self._expected.clear()
        return repeated


@contextlib.contextmanager
def client(name: str, lane: Lane) -> Generator[subprocess.Popen[bytes]]:
    """A client at work, until the block ends."""
    module = ("services.streaming",) if name == OURS else ("scripts.bench.streaming", "--client", name)
    log = Path(os.environ["SIMULATOR_HOME"]) / f"{name}.log"
    with (
        log.open("ab") as output,
        subprocess.Popen(
            (sys.executable, "-m", *module),
            cwd=ROOT,
            env={**os.environ, **to_environment(lane.settings)},
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
    """Begin with an empty one, on the same port: what was acknowledged stays on its heap for a while."""
    running = processes.find(f"{emulators.KIND}.pubsub")
    if running is not None:  # killed, it is started again where it was; stopped, it would be forgotten
        process = psutil.Process(running.pid)
        process.kill()
        process.wait()
    emulators.ensure()


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """CPU that a process has taken, user and system."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def pss_mib(process: subprocess.Popen[bytes]) -> float:
    """Memory of a process: its own, and its share of what it shares."""
    return psutil.Process(process.pid).memory_full_info().pss / MEBIBYTE


def peak_mib(process: subprocess.Popen[bytes]) -> float:
    """Most memory that was ever resident in a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(name: str, forecast: Forecast, messages: int) -> Run:
    """One client answers messages that wait for it."""
    restart_emulator()
    lane = Lane(forecast)
    with client(name, lane) as process:
        lane.publish(1)
        lane.check(*lane.collect(process))
        process.send_signal(signal.SIGSTOP)
        lane.publish(messages)
        before = cpu_seconds(process)
        begun = time.monotonic()
        process.send_signal(signal.SIGCONT)
        replies = lane.collect(process)
        elapsed = time.monotonic() - begun
        time.sleep(_SETTLE_SECONDS)
        run = Run((cpu_seconds(process) - before) / messages * 1e6, messages / elapsed, peak_mib(process))
    lane.check(*replies)
    return run


def endurance(forecast: Forecast, messages: int, rounds: int) -> list[float]:
    """Memory (PSS) of our service after each of several rounds of messages, MiB.

    The service lives on while the emulator is restarted between them.
    """
    lane = Lane(forecast)
    memory: list[float] = []
    with client(OURS, lane) as process:
        for _ in range(rounds):
            restart_emulator()
            lane.create()
            lane.publish(messages)
            lane.check(*lane.collect(process))
            memory.append(pss_mib(process))
    return memory


def bench(messages: int, rounds: int, endurance_rounds: int) -> None:
    """Measure, print, and write the result."""
    forecast = publish_model(Path(os.environ["SIMULATOR_HOME"]))
    names = (OURS, *PEERS)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            runs[name].append(measure(name, forecast, messages))
    memory = endurance(forecast, messages, endurance_rounds)

    medians = {
        name: Run(*(statistics.median(column) for column in zip(*map(_values, each), strict=True)))
        for name, each in runs.items()
    }
    ours = medians[OURS]
    table = Table(title=f"{messages:,} active requests, {DAYS} days of one series, median of {rounds}")
    for heading in ("", "CPU us/message", "ratio", "messages/s", "peak MiB"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, run in medians.items():
        table.add_row(
            name,
            f"{run.cpu_us:.0f}",
            f"{run.cpu_us / ours.cpu_us:.1f}",
            f"{run.messages_per_second:.0f}",
            f"{run.peak_mib:.0f}",
        )
    console = Console()
    console.print(table)
    table = Table("messages", "MiB (PSS)", title="ours, one process")
    for number, each in enumerate(memory, start=1):
        table.add_row(f"{number * messages:,}", f"{each:.0f}")
    console.print(table)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "unit": "client CPU microseconds per message",
        "ours": asdict(ours),
        "peers": {name: asdict(medians[name]) for name in PEERS},
        "ratios": {name: medians[name].cpu_us / ours.cpu_us for name in PEERS},
        "pss_mib": memory,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _values(run: Run) -> tuple[float, ...]:
    return run.cpu_us, run.messages_per_second, run.peak_mib


def main() -> int:
    """Returns 1 if a client did not answer rightly."""
    parser = argparse.ArgumentParser(description="The streaming service against other Pub/Sub clients.")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--endurance-rounds", type=int, default=10)
    parser.add_argument("--client", choices=CLIENTS, help="be a client, configured by environment variables")
    options = parser.parse_args()
    if options.client:
        CLIENTS[options.client](from_environment(StreamingSettings, os.environ))
        return 0
    with tempfile.TemporaryDirectory() as home:
        os.environ["SIMULATOR_HOME"] = home
        try:
            emulators.ensure()
            os.environ.update(emulators.endpoints().environment)
            bench(options.messages, options.rounds, options.endurance_rounds)
        except (BenchError, emulators.EmulatorError) as error:
            print(f"bench-streaming: {error}", file=sys.stderr)
            return 1
        finally:
            simulator.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
