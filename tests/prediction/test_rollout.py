"""One of two servers stops, or the model changes, during 12,000 requests: none fails."""

import asyncio
import collections
import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from services.contracts.messages import PredictionResponse
from tests.conftest import Models, Service, service

REQUESTS = 12_000
CLIENTS = 16
GET = b"GET /predict?range=30 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def workers(models: Models, tmp_path: Path) -> Iterator[list[Service]]:
    """Two services with model v1; a busy machine sees within their drain that one is not ready."""
    models.publish("v1")
    two = [
        service("services.prediction", {**models.environment, "DRAIN_SECONDS": "6"}, tmp_path / f"{name}.log")
        for name in ("first", "second")
    ]
    for each in two:
        each.start()
    yield [each.wait_ready() for each in two]
    for each in two:
        each.kill()


class Balancer:
    """Sends requests to ready workers in turn, over persistent connections.

    Attributes:
        answers: Number of responses by body.
        failures: Failed requests.
    """

    def __init__(self, workers: list[Service]) -> None:
        self.answers: collections.Counter[bytes] = collections.Counter()
        self.failures: list[str] = []
        self._ready = list(workers)
        self._turn = itertools.count()

    async def watch(self, workers: list[Service]) -> None:
        """Poll readiness as load balancers do, but more often."""
        while True:
            self._ready = [each for each in workers if await self._is_ready(each)]
            await asyncio.sleep(0.1)

    async def send(self, share: int) -> None:
        """Send requests one after the other, like one client."""
        connections: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        for _ in range(share):
            port = self._ready[next(self._turn) % len(self._ready)].port
            try:
                if port not in connections:
                    connections[port] = await asyncio.open_connection("127.0.0.1", port)
                reader, writer = connections[port]
                writer.write(GET)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.answers[await reader.readexactly(length)] += 1
                if not head.startswith(b"HTTP/1.1 200 "):
                    self.failures.append(head.decode())
                if b"connection: close" in head:
                    writer.close()
                    del connections[port]
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failures.append(f"{port}: {error!r}")
                connections.pop(port, None)
        for _, writer in connections.values():
            writer.close()

    @staticmethod
    async def _is_ready(worker: Service) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
        except OSError:
            return False
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer.startswith(b"HTTP/1.1 200 ")

    async def answered(self, count: int) -> None:
        while self.answers.total() < count:
            await asyncio.sleep(0.01)


def test_no_request_fails_while_a_worker_stops(workers: list[Service]) -> None:
    async def run() -> Balancer:
        balancer = Balancer(workers)
        watcher = asyncio.create_task(balancer.watch(workers))
        senders = [asyncio.create_task(balancer.send(REQUESTS // CLIENTS)) for _ in range(CLIENTS)]
        await balancer.answered(REQUESTS // 10)
        first = workers[0].process
        assert first is not None
        first.send_signal(signal.SIGTERM)
        # Requests go on before, during and after the stop.
        more = 0
        while first.poll() is None:
            await balancer.send(50)
            more += 50
        await balancer.send(500)
        await asyncio.gather(*senders)
        watcher.cancel()
        assert balancer.answers.total() == REQUESTS + more + 500
        return balancer

    balancer = asyncio.run(run())

    assert balancer.failures == []
    assert len(balancer.answers) == 1
    assert workers[0].stop() == 0
    assert workers[1].get("/readyz").status_code == 200


def test_no_response_mixes_versions_while_the_model_changes(workers: list[Service], models: Models) -> None:
    forecasts = {version: models.forecast(version) for version in ("v1", "v2")}
    models.upload("v2")

    async def run() -> Balancer:
        balancer = Balancer(workers)
        senders = [asyncio.create_task(balancer.send(REQUESTS // CLIENTS)) for _ in range(CLIENTS)]
        for step, version in enumerate(("v2", "v1", "v2"), start=1):
            await balancer.answered(step * REQUESTS // 5)
            await asyncio.to_thread(models.registry.publish, version)
        await asyncio.gather(*senders)
        return balancer

    balancer = asyncio.run(run())

    assert balancer.failures == []
    assert balancer.answers.total() == REQUESTS
    seen: set[str] = set()
    for body in balancer.answers:
        answer = msgspec.json.decode(body, type=PredictionResponse)
        forecast = forecasts[answer.model.version]
        assert answer.prediction == forecast.rows(30, forecast.select())
        seen.add(answer.model.version)
    assert seen == {"v1", "v2"}
