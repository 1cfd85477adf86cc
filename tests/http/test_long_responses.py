"""Responses that are written in parts, in turns."""

import asyncio
from collections.abc import Iterator

import pytest

from services.http import server as server_module
from services.http.messages import Request, Response
from services.http.server import Server
from tests.http.test_server import GET, Client, Echo, connect, serving

PARTS = 200
PART = b"x" * 100_000


class Long(Echo):
    """Responds to `/long` in parts, to `/broken` with an error after some."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def answer(self, request: Request) -> Response:
        if request.path == b"/long":
            return Response(200, [], parts=lambda: self._parts(PARTS))
        if request.path == b"/broken":
            return Response(200, [], parts=self._broken)
        return super().answer(request)

    def _parts(self, number: int) -> Iterator[bytes]:
        for _ in range(number):
            self.made += 1
            yield PART
            yield b""

    def _broken(self) -> Iterator[bytes]:
        yield from self._parts(3)
        raise ValueError("broken")


async def content(client: Client) -> bytearray:
    """The body of a chunked response."""
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\ntransfer-encoding: chunked\r\n" in head
    body = bytearray()
    while size := int(await client.reader.readline(), 16):
        body += await client.reader.readexactly(size)
        assert await client.reader.readline() == b"\r\n"
    assert await client.reader.readline() == b"\r\n"
    return body


def test_a_long_response_is_whole_and_others_follow_it() -> None:
    application = Long()

    async def test(client: Client, *_unused: object) -> None:
        client.writer.write(GET % b"long" + GET % b"a" + GET % b"long" + GET % b"b" + b"GET /c HTTP/1.1\r\n")
        assert await content(client) == PART * PARTS
        assert (await client.answer())[2] == b"GET /a "
        assert await content(client) == PART * PARTS
        assert (await client.answer())[2] == b"GET /b "
        client.writer.write(b"Host: x\r\n\r\n")
        assert (await client.answer())[2] == b"GET /c "
        paths = [path for path, _ in application.observed]
        assert paths == [b"/long", b"/a", b"/long", b"/b", b"/c"]

    serving(test, application=application)


def test_what_is_wrong_behind_a_long_response_does_not_break_it() -> None:
    async def test(client: Client, *_unused: object) -> None:
        client.writer.write(GET % b"long" + b"nonsense\r\n\r\n")
        assert await content(client) == PART * PARTS
        assert (await client.answer())[0] == 400

    serving(test, application=Long())


def test_http_1_0_learns_the_end_from_the_close_and_head_has_no_body() -> None:
    async def old(client: Client, *_unused: object) -> None:
        client.writer.write(b"GET /long HTTP/1.0\r\n\r\n")
        client.writer.write_eof()
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert await client.reader.read() == PART * PARTS

    async def head(client: Client, *_unused: object) -> None:
        client.writer.write(b"HEAD /long HTTP/1.1\r\nHost: x\r\n\r\n" + GET % b"next")
        _, headers, _ = await client.answer()
        assert headers["transfer-encoding"] == "chunked"
        assert (await client.answer())[2] == b"GET /next "

    serving(old, application=Long())
    serving(head, application=Long())


def test_parts_are_made_as_the_client_reads_them() -> None:
    application = Long()

    async def test(client: Client, server: Server, _: Echo) -> None:
        client.writer.write(GET % b"long")
        while not application.made:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert application.made < PARTS / 2
        assert server.requests_in_flight == 1
        assert await content(client) == PART * PARTS
        assert server.requests_in_flight == 0

    serving(test, application=application)


def test_many_long_responses_let_others_pass() -> None:
    """A request waits for few parts, however many responses are written."""
    application = Long()

    async def test(client: Client, *_unused: object) -> None:
        others = [await connect(client, "127.0.0.2") for _ in range(16)]
        reading = []
        for each in others:
            each.writer.write(GET % b"long")
            reading.append(asyncio.create_task(content(each)))
        while application.made < len(others):
            await asyncio.sleep(0)
        made = application.made
        for _ in range(50):
            client.writer.write(GET % b"short")
            await client.answer()
        assert not any(task.done() for task in reading)
        assert (application.made - made) / 50 < 8
        assert [len(body) for body in await asyncio.gather(*reading)] == [len(PART) * PARTS] * 16

    serving(test, application=application)


def test_too_many_long_responses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_STREAMS", 2)

    async def test(client: Client, *_unused: object) -> None:
        others = [await connect(client, f"127.0.0.{number}") for number in (2, 3)]
        for each in others:
            each.writer.write(GET % b"long")
        await asyncio.sleep(0.1)
        client.writer.write(GET % b"long")
        status, headers, _ = await client.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        others[0].writer.transport.abort()
        assert await content(others[1]) == PART * PARTS
        client.writer.write(GET % b"long")
        assert await content(client) == PART * PARTS

    serving(test, application=Long())


@pytest.mark.parametrize("proxied", [True, False])
def test_a_client_has_half_of_the_long_responses(monkeypatch: pytest.MonkeyPatch, proxied: bool) -> None:
    """Behind a load balancer, too, where all come from its address."""
    monkeypatch.setattr(server_module, "MAX_STREAMS", 4)

    async def test(client: Client, *_unused: object) -> None:
        async def ask(number: int) -> Client:
            asking = await connect(client, "127.0.0.1" if proxied else f"127.0.0.{number}")
            # What the client wrote itself does not count.
            chain = b"9.9.9.%d, 203.0.113.%d, 198.51.100.1" % (len(asked), number) if proxied else b"7"
            asking.writer.write(b"GET /long HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %b\r\n\r\n" % chain)
            asked.append(asking)
            return asking

        asked: list[Client] = []
        first = [await ask(number) for number in (2, 2)]
        await asyncio.sleep(0.1)
        status, headers, body = await (await ask(2)).answer()
        assert (status, headers["retry-after"]) == (503, "1")
        assert b"you have too many long responses" in body
        others = [await ask(number) for number in (3, 4)]
        await asyncio.sleep(0.1)
        status, _, body = await (await ask(5)).answer()
        assert status == 503
        assert b"there are too many long responses" in body
        for each in (*first, *others):
            assert await content(each) == PART * PARTS
        assert await content(await ask(2)) == PART * PARTS

    serving(test, application=Long())


def test_an_error_breaks_the_response_off() -> None:
    application = Long()

    async def test(client: Client, server: Server, _: Echo) -> None:
        client.writer.write(GET % b"broken")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError, ValueError)):
            await content(client)
        while server.connections:
            await asyncio.sleep(0.01)

    serving(test, application=application)


def test_the_stop_waits_for_a_long_response_and_closes_the_connection() -> None:
    application = Long()

    async def test(client: Client, server: Server, _: Echo) -> None:
        client.writer.write(GET % b"long")
        await asyncio.sleep(0.1)
        application.draining = True
        closing = asyncio.create_task(server.close(20))
        assert await content(client) == PART * PARTS
        assert await client.ended()
        assert await closing

    serving(test, application=application)
