"""The HTTP server: limits, timeouts, clients that misbehave."""

import asyncio
import datetime
import email.utils
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from services.http import connection
from services.http import server as server_module
from services.http.application import Application
from services.http.messages import AsyncHandler, HttpError, Receive, Request, Response
from services.http.server import Server
from tests.conftest import free_port

GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /%b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = b"x" * 1_000_000


class Echo(Application):
    """Responds with the request; to `/large` with a megabyte."""

    def __init__(self) -> None:
        super().__init__([])
        self.observed: list[tuple[bytes, int]] = []

    def answer(self, request: Request) -> Response:
        if request.path == b"/large":
            return Response(200, [], LARGE)
        return Response(200, [], b"%b %b %b" % (request.method, request.path, request.query or request.body))

    def refusal(self, request: Request) -> Response | None:
        return Response(404, []) if request.path == b"/unknown" else None

    def observe(self, request: Request, response: Response, seconds: float) -> None:
        assert 0 <= seconds < 60
        self.observed.append((request.path, response.status))


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(status.split()[1]), headers, body

    async def ended(self) -> bool:
        return await self.reader.read() == b""


Run = Callable[[Client, Server, Echo], Awaitable[None]]

run_loop: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run


@pytest.fixture(autouse=True, params=[asyncio, uvloop], ids=lambda module: module.__name__)
def event_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streaming serves on the former, prediction on the latter."""
    monkeypatch.setattr(f"{__name__}.run_loop", request.param.run)


def serving(test: Run, handler: AsyncHandler | None = None, application: Echo | None = None) -> None:
    @asynccontextmanager
    async def connected() -> AsyncGenerator[tuple[Client, Server, Echo]]:
        served = application or Echo()
        server = Server(served, handler)
        port = free_port()
        await server.listen("127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield Client(reader, writer), server, served
        writer.close()
        await server.close(0)

    async def run() -> None:
        async with asyncio.timeout(20), connected() as parts:
            await test(*parts)

    run_loop(run())


def test_pipelined_requests_are_answered_in_order() -> None:
    async def test(client: Client, _: Server, application: Echo) -> None:
        client.writer.write(b"".join(GET % name for name in (b"a?q=1", b"large", b"b", b"c")))
        bodies = [(await client.answer())[2] for _ in range(4)]
        assert bodies == [b"GET /a q=1", LARGE, b"GET /b ", b"GET /c "]
        assert application.observed == [(b"/a", 200), (b"/large", 200), (b"/b", 200), (b"/c", 200)]

    serving(test)


def test_requests_are_not_read_while_the_client_does_not_read() -> None:
    async def test(client: Client, server: Server, application: Echo) -> None:
        asked = 200  # megabytes, if all were answered at once
        client.writer.write((GET % b"large") * asked)
        await asyncio.sleep(0.2)
        assert len(application.observed) < asked / 2
        assert server.requests_in_flight == 1
        for _ in range(asked):
            assert len((await client.answer())[2]) == len(LARGE)
        client.writer.write(GET % b"after")
        assert (await client.answer())[2] == b"GET /after "

    serving(test)


def test_a_request_may_arrive_byte_by_byte() -> None:
    async def test(client: Client, *_: Any) -> None:
        for byte in CHUNKED % b"p" + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n":
            client.writer.write(bytes([byte]))
            await client.writer.drain()
        assert (await client.answer())[2] == b"POST /p abcde"

    serving(test)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 400_000, 431),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413),
        (CHUNKED % b"" + b"10001\r\n" + b"x" * 65537, 413),
        (CHUNKED % b"" + b"1\r\nx\r\n0\r\nA: " + b"x" * 400_000, 431),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: " + b"x" * 262 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/3.7\r\nHost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
    ],
    ids=lambda value: str(value[:40]) if isinstance(value, bytes) else str(value),
)
def test_invalid_or_too_large_requests_are_refused_and_the_connection_closed(
    sent: bytes, status: int
) -> None:
    async def test(client: Client, server: Server, application: Echo) -> None:
        client.writer.write(sent)
        got, headers, _ = await client.answer()
        assert got == status
        assert headers["connection"] == "close"
        assert await client.ended()
        assert [status for _, status in application.observed] == [status]
        client.writer.close()
        while server.connections:
            await asyncio.sleep(0.01)

    serving(test)


def test_connections_close_after_http_1_0_and_upgrades() -> None:
    async def old(client: Client, *_: Any) -> None:
        client.writer.write(b"GET /old HTTP/1.0\r\n\r\n")
        assert (await client.answer())[1]["connection"] == "close"
        assert await client.ended()

    async def upgrade(client: Client, *_: Any) -> None:
        client.writer.write(
            b"GET /u HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\nmore"
        )
        assert (await client.answer())[2] == b"GET /u "
        assert await client.ended()

    serving(old)
    serving(upgrade)


def test_100_continue_is_sent_when_expected() -> None:
    async def test(client: Client, *_: Any) -> None:
        client.writer.write(
            b"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"hi")
        assert (await client.answer())[2] == b"POST /p hi"

    serving(test)


def test_absolute_target() -> None:
    async def test(client: Client, *_: Any) -> None:
        client.writer.write(b"GET http://x:80/p?q=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer())[2] == b"GET /p q=1"

    serving(test)


def test_an_incomplete_request_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.1)

    async def test(client: Client, *_: Any) -> None:
        client.writer.write(b"GET / HTTP/1.1\r\nHo")
        assert (await client.answer())[0] == 408
        assert await client.ended()

    serving(test)


def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE_SECONDS", 0.1)

    async def test(client: Client, *_: Any) -> None:
        client.writer.write(GET % b"")
        await client.answer()
        assert await client.ended()

    serving(test)


def test_the_connection_of_a_client_that_never_reads_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.1)

    async def test(client: Client, server: Server, _: Echo) -> None:
        client.writer.write((GET % b"large") * 50)
        await asyncio.sleep(0.1)
        while server.connections:
            await asyncio.sleep(0.01)

    serving(test)


async def connect(client: Client, address: str) -> Client:
    port = client.writer.get_extra_info("peername")[1]
    return Client(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))


def test_of_too_many_connections_idle_ones_are_closed_and_others_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 3)

    async def test(idle: Client, *_unused: object) -> None:
        busy = []
        for number in range(2, 5):
            busy.append(await connect(idle, f"127.0.0.{number}"))
            busy[-1].writer.write(b"GET /partial HTTP/1.1\r\n")
            await asyncio.sleep(0.05)
        assert await idle.ended()
        refused = await connect(idle, "127.0.0.5")
        status, headers, _ = await refused.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        assert await refused.ended()
        for each in busy:
            each.writer.write(b"Host: x\r\n\r\n")
            assert (await each.answer())[0] == 200

    serving(test)


def test_a_client_has_half_of_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 4)

    async def test(first: Client, server: Server, _: Echo) -> None:
        own = [await connect(first, "127.0.0.9") for _ in range(5)]
        own[-1].writer.write(GET % b"own")
        assert (await own[-1].answer())[0] == 200
        assert len(server.connections) == 3
        first.writer.write(GET % b"first")
        assert (await first.answer())[0] == 200
        assert await own[0].ended()

    serving(test)


def test_a_client_behind_a_load_balancer_has_half_of_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those on which it sends slowly: the load balancer keeps idle ones, for anyone, and they go first."""
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 6)
    head = b"Host: x\r\nX-Forwarded-For: 9.9.9.%d, 203.0.113.%d, 198.51.100.1\r\n"

    async def test(idle: Client, server: Server, _: Echo) -> None:
        async def begin(number: int, client: int) -> Client:
            slow = await connect(idle, f"127.0.0.{number % 3 + 2}")  # the load balancer has several addresses
            slow.writer.write(
                b"POST /p HTTP/1.1\r\n" + head % (number, client) + b"Content-Length: 2\r\n\r\n"
            )
            return slow

        async def in_flight(number: int) -> None:
            while server.requests_in_flight != number:
                await asyncio.sleep(0.01)

        slow = [await begin(number, 7) for number in range(3)]
        await in_flight(3)
        refused = await begin(3, 7)
        status, headers, body = await refused.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        assert b"you have too many connections" in body
        refused.writer.close()
        while len(server.connections) > 4:
            await asyncio.sleep(0.01)
        slow += [await begin(number, 8) for number in range(3)]
        await in_flight(6)
        assert await idle.ended()
        for each in slow:
            each.writer.write(b"ok")
            assert (await each.answer())[2] == b"POST /p ok"

    serving(test)

    serving(test)


def test_connections_far_beyond_the_limit_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(connection, "_REFUSALS", 1)

    async def test(first: Client, server: Server, _: Echo) -> None:
        first.writer.write(b"GET /partial HTTP/1.1\r\n")
        await asyncio.sleep(0.05)
        others = [await connect(first, "127.0.0.1") for _ in range(5)]
        assert await others[-1].ended()
        assert len(server.connections) == 3
        for each in others:
            each.writer.close()

    serving(test)


def test_draining_closes_a_connection_after_the_response() -> None:
    async def test(client: Client, _: Server, application: Echo) -> None:
        application.draining = True
        client.writer.write(GET % b"last")
        status, headers, body = await client.answer()
        assert body == b"GET /last "
        assert (status, headers["connection"]) == (200, "close")
        assert await client.ended()

    serving(test)


def test_date_header() -> None:
    async def test(client: Client, *_: Any) -> None:
        client.writer.write(GET % b"")
        date = (await client.answer())[1]["date"]
        sent = email.utils.parsedate_to_datetime(date)
        assert abs(datetime.datetime.now(datetime.UTC) - sent) < datetime.timedelta(seconds=5)

    serving(test)


@pytest.mark.parametrize(
    ("sent", "continued"),
    [
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        (b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", True),
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", False),
        (b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        (b"00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        (b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        (b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        (b"nonsense", False),
    ],
)
def test_a_valid_trace_is_continued_and_an_invalid_one_is_not(sent: bytes, continued: bool) -> None:
    async def test(client: Client, *_: Any) -> None:
        client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\ntraceparent: %b\r\n\r\n" % sent)
        parent = (await client.answer())[1]["traceparent"]
        match = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0([01])", parent)
        assert match
        assert match[2] != "b7ad6b7169203331"
        assert (match[1] == "0af7651916cd43dd8448eb211c80319c") == continued
        assert (match[3] == "1") == continued

    serving(test)


def test_a_trailer_is_no_header() -> None:
    async def test(client: Client, *_: Any) -> None:
        trailer = b"0\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"
        client.writer.write(CHUNKED % b"p" + trailer)
        assert "0af7651916cd43dd8448eb211c80319c" not in (await client.answer())[1]["traceparent"]

    serving(test)


class Slow:
    """Handles `/slow`: receives the body after `take` is set, responds with its size after `answer`."""

    MAX_BYTES = 2_000_000

    def __init__(self) -> None:
        self.take = asyncio.Event()
        self.answer = asyncio.Event()
        self.size = -1
        self.ended = False

    def __call__(self, request: Request, receive: Receive) -> Coroutine[Any, Any, Response] | None:
        return self._respond(request, receive) if request.path == b"/slow" else None

    async def _respond(self, request: Request, receive: Receive) -> Response:
        try:
            await self.take.wait()
            if b"unwanted" in request.headers:
                return Response(401, [])
            self.size = len(await receive(self.MAX_BYTES))
            await self.answer.wait()
            return Response(200, [], str(self.size).encode())
        except HttpError as error:
            return Response(error.response.status, [])
        finally:
            self.ended = True


SLOW = b"POST /slow HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n"


def serving_slow(test: Callable[[Client, Server, Slow], Awaitable[None]]) -> None:
    slow = Slow()
    serving(lambda client, server, _: test(client, server, slow), slow)


def test_an_async_handler_may_receive_a_larger_body() -> None:
    async def test(client: Client, _: Server, slow: Slow) -> None:
        client.writer.write(SLOW % (b"", len(LARGE)) + LARGE)
        slow.take.set()
        slow.answer.set()
        assert (await client.answer())[2] == str(len(LARGE)).encode()
        client.writer.write(CHUNKED % b"slow" + b"2\r\nab\r\n")
        await asyncio.sleep(0.05)
        client.writer.write(b"1\r\nc\r\n0\r\n\r\n" + GET % b"next")
        assert (await client.answer())[2] == b"3"
        # The pipelined request is dropped, which HTTP allows; the close tells the client.
        assert await client.ended()

    serving_slow(test)


def test_an_async_handler_starts_with_the_head_while_the_body_waits_in_the_socket() -> None:
    async def test(client: Client, server: Server, slow: Slow) -> None:
        client.writer.write(SLOW % (b"Expect: 100-continue\r\n", 3))
        await asyncio.sleep(0.05)
        assert server.requests_in_flight == 1
        slow.take.set()
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"abc")
        while slow.size < 0:
            await asyncio.sleep(0.01)
        client.writer.write(GET % b"next")
        await asyncio.sleep(0.05)
        slow.answer.set()
        assert (await client.answer())[2] == b"3"
        assert (await client.answer())[2] == b"GET /next "

    serving_slow(test)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (SLOW % (b"", Slow.MAX_BYTES + 1), 413),
        (CHUNKED % b"slow" + b"400000\r\n" + b"x" * (Slow.MAX_BYTES + 1), 413),
        (SLOW % (b"Unwanted: 1\r\n", 1_000_000) + b"x" * 999_999, 401),
        (CHUNKED % b"slow" + b"nonsense\r\n", 400),
    ],
)
def test_an_async_handler_may_refuse_without_the_body(sent: bytes, status: int) -> None:
    async def test(client: Client, server: Server, slow: Slow) -> None:
        slow.take.set()
        client.writer.write(sent)
        got, headers, _ = await client.answer()
        assert (got, headers["connection"]) == (status, "close")
        assert await client.ended()
        client.writer.close()
        while server.connections:
            await asyncio.sleep(0.01)
        assert slow.ended or status == 400  # a task that never started

    serving_slow(test)


def test_an_async_handler_whose_body_is_incomplete_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.1)

    async def test(client: Client, _: Server, slow: Slow) -> None:
        slow.take.set()
        client.writer.write(SLOW % (b"", 3) + b"ab")
        assert (await client.answer())[0] == 408
        assert slow.ended

    serving_slow(test)


def test_an_async_handler_is_cancelled_when_the_client_disconnects() -> None:
    async def test(client: Client, server: Server, slow: Slow) -> None:
        slow.take.set()
        client.writer.write(SLOW % (b"Expect: 100-continue\r\n", 3))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert not slow.ended
        client.writer.transport.abort()
        while server.connections:
            await asyncio.sleep(0.01)
        assert slow.ended

    serving_slow(test)


def test_close_waits_for_an_async_handler() -> None:
    slow = Slow()

    async def test(client: Client, server: Server, application: Echo) -> None:
        slow.take.set()
        client.writer.write(SLOW % (b"", 3) + b"abc")
        while slow.size < 0:
            await asyncio.sleep(0.01)
        closing = asyncio.create_task(server.close(10))
        await asyncio.sleep(0.05)
        assert not closing.done()
        application.draining = True
        slow.answer.set()
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await closing

    serving(test, slow)
