"""The streaming service compared with other clients, on Google's Pub/Sub emulator.

Each client answers the same requests with the same model: an active request for 30 days of one series, about
3 kB of reply. A client starts, answers one message and is stopped (SIGSTOP) while the other requests are
published; its CPU time counts from then on. Every reply is compared with the forecast.
"""

import functools
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from google import pubsub_v1

from infra.simulator import emulators, processes
from scripts.bench import harness, servers
from scripts.bench.streaming_clients import CLIENTS, DAYS
from scripts.command import CommandError, command, running
from scripts.messages.publish import publish
from scripts.messages.subscriptions import take
from scripts.own_emulators import PROJECT, own_emulators
from services.contracts.messages import SalePrediction, SaleRangeRequest
from services.contracts.names import REQUEST_ID_ATTRIBUTE
from services.contracts.settings import StreamingSettings, to_environment
from services.forecasting.forecast import Forecast

OURS: Final = "ours"
MESSAGES: Final = 20_000
ROUNDS: Final = 2
ENDURANCE_ROUNDS: Final = 10
_PATIENCE_SECONDS: Final = 180
_SETTLE_SECONDS: Final = 0.5  # after the last reply, for acknowledgements
_TOPIC: Final = f"projects/{PROJECT}/topics/{{}}"
_SUBSCRIPTION: Final = f"projects/{PROJECT}/subscriptions/{{}}"


class Client:
    """A client (`ours`, or one of `CLIENTS`) with an emulator of its own; replies are made of `forecast`."""

    def __init__(self, name: str, forecast: Forecast) -> None:
        self._forecast = forecast
        self._subscriber = pubsub_v1.SubscriberClient()
        settings = StreamingSettings(
            model_bucket=servers.MODELS,
            subscription=_SUBSCRIPTION.format("requests"),
            reply_topic=_TOPIC.format("replies"),
            dead_letter_topic=_TOPIC.format("dead"),
            predictions_table=f"{PROJECT}.predictions.predictions",
            host="127.0.0.1",
            port=emulators.free_port(),
        )
        module = ("services.streaming",) if name == OURS else ("scripts.bench.streaming_clients", name)
        self.running = running(
            *(sys.executable, "-m", *module),
            log=Path(os.environ["SIMULATOR_HOME"]) / f"{name}.log",
            variables=to_environment(settings),
            ending=signal.SIGTERM if name == OURS else signal.SIGKILL,
        )
        self.restart_emulator()

    def restart_emulator(self) -> None:
        """Replace it by an empty one on its port: acknowledged messages stay on its heap for a while."""
        before = processes.find(f"{emulators.KIND}.pubsub")
        if before is not None:  # a killed emulator restarts on its port; a stopped one gets another
            process = psutil.Process(before.pid)
            process.kill()
            process.wait()
        emulators.ensure()
        publisher = pubsub_v1.PublisherClient()
        for name in ("requests", "replies", "dead"):
            topic, subscription = _TOPIC.format(name), _SUBSCRIPTION.format(name)
            publisher.create_topic(name=topic)
            self._subscriber.create_subscription(name=subscription, topic=topic, ack_deadline_seconds=60)

    def ask(self, number: int) -> dict[str, SaleRangeRequest]:
        """Publish requests, by id, for series chosen at random, the same in every run."""
        choice = random.Random(number)  # noqa: S311 -- the same in every run
        series = list(zip(self._forecast.store_nbr, self._forecast.family, strict=True))
        chosen = (choice.choice(series) for _ in range(number))
        requests = [SaleRangeRequest(uuid.uuid4().hex, DAYS, *each, mode="active") for each in chosen]
        publish(_TOPIC.format("requests"), requests)
        return {request.request_id: request for request in requests}

    def collect(self, requests: Collection[str], process: psutil.Popen) -> list[tuple[str, bytes]]:
        """Wait until every request has its reply. Returns request ids and bodies."""
        replies: list[tuple[str, bytes]] = []
        missing = set(requests)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while missing:
            if time.monotonic() > deadline or process.poll() is not None:
                raise CommandError(f"{len(missing)} of {len(requests)} requests have no reply")
            taken = take(self._subscriber, _SUBSCRIPTION.format("replies"))
            came = [(message.attributes[REQUEST_ID_ATTRIBUTE], message.data) for message in taken]
            missing.difference_update(request_id for request_id, _ in came)
            replies += came
        return replies

    def check(self, requests: dict[str, SaleRangeRequest], replies: list[tuple[str, bytes]]) -> None:
        """Compare every reply with the forecast."""

        @functools.cache
        def rows(store: str, family: str) -> list[Any]:
            series = self._forecast.select(store_nbr=[store], family=[family])
            return self._forecast.rows(DAYS, series.tolist())

        for request_id, body in replies:
            reply = msgspec.json.decode(body, type=SalePrediction)
            asked = requests[request_id]
            right = rows(str(asked.store_nbr), str(asked.family))
            if reply.request_id != request_id or not reply.success or reply.prediction != right:
                raise CommandError(f"the reply to {asked} is wrong: {body[:200]!r}")


def measure(name: str, forecast: Forecast) -> harness.Figures:
    """One client answers messages that are already published."""
    client = Client(name, forecast)
    with client.running as process:
        first = client.ask(1)
        client.check(first, client.collect(first, process))
        process.send_signal(signal.SIGSTOP)
        requests = client.ask(MESSAGES)
        before, begun = harness.cpu_seconds(process), time.monotonic()
        process.send_signal(signal.SIGCONT)
        replies = client.collect(requests, process)
        elapsed = time.monotonic() - begun
        time.sleep(_SETTLE_SECONDS)
        used = harness.cpu_seconds(process) - before
        peak = harness.peak_mib(process)
    client.check(requests, replies)
    return {"cpu_us": used / MESSAGES * 1e6, "messages_per_second": MESSAGES / elapsed, "peak_mib": peak}


def endurance(forecast: Forecast) -> list[float]:
    """Memory (PSS) of our service after each of several rounds of messages, MiB.

    The service keeps running while the emulator restarts between the rounds.
    """
    client = Client(OURS, forecast)
    memory: list[float] = []
    with client.running as process:
        for _ in range(ENDURANCE_ROUNDS):
            client.restart_emulator()
            requests = client.ask(MESSAGES)
            client.check(requests, client.collect(requests, process))
            memory.append(harness.pss_mib(process))
    return memory


@command("bench-streaming")
def main() -> int:
    """Measure, print and write the result; 1 if a reply is missing or wrong."""
    with own_emulators():
        forecast = servers.publish_default_model().forecast
        measures = {name: functools.partial(measure, name, forecast) for name in (OURS, *CLIENTS)}
        medians = harness.interleave(measures, ROUNDS, warm_up=False)
        memory = endurance(forecast)
    title = f"{MESSAGES:,} active requests, {DAYS} days of one series, median of {ROUNDS}"
    harness.publish("streaming", title, medians, ours=OURS, pss_mib=memory)
    print(f"ours, PSS after every {MESSAGES:,} messages: {', '.join(f'{each:.0f}' for each in memory)} MiB")
    return 0
