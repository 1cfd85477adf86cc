"""What is no valid request, or asks for what the server does not do."""

import asyncio

import pytest

from services.http.server import Server
from tests.http.test_server import GET, LARGE, SLOW, Client, Echo, Slow, serving

HOST = b"Host: x\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: x\r\n"
EXPECT = b"Expect: 100-continue\r\n"


@pytest.mark.parametrize("body", [b"Content-Length: 5\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"])
@pytest.mark.parametrize("apart", [True, False])
def test_the_body_of_a_request_that_asks_for_an_upgrade_is_read(body: bytes, apart: bool) -> None:
    async def test(client: Client, *_unused: object) -> None:
        client.writer.write(POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" + body)
        if apart:
            await asyncio.sleep(0.05)
        client.writer.write(b"hello" + (b"\r\n0\r\n\r\n" if b"chunked" in body else b"") + GET % b"more")
        assert (await client.answer())[2] == b"POST /p hello"
        assert await client.ended()

    serving(test)


def test_a_head_within_the_limit_may_come_in_pieces_and_after_other_requests() -> None:
    async def test(client: Client, *_unused: object) -> None:
        large = b"GET /b HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000
        for _ in range(3):
            client.writer.write((GET % b"a") * 500 + large)
            await asyncio.sleep(0.05)
            client.writer.write(b"\r\n\r\n")
            for _ in range(500):
                assert (await client.answer())[2] == b"GET /a "
            assert (await client.answer())[2] == b"GET /b "

    serving(test)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: a_b.example:8080\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET /\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    ],
)
def test_status(sent: bytes, status: int) -> None:
    async def test(client: Client, *_unused: object) -> None:
        client.writer.write(sent)
        assert (await client.answer())[0] == status

    serving(test)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /p HTTP/1.1\r\n" + HOST + EXPECT + b"\r\n",
        POST + EXPECT + b"Content-Length: 0\r\n\r\n",
        b"POST /p HTTP/1.0\r\n" + EXPECT + b"Content-Length: 1\r\n\r\nx",
        POST + EXPECT + b"Content-Length: 1\r\n\r\nx",
    ],
)
def test_100_continue_is_not_sent_to_whom_it_says_nothing(sent: bytes) -> None:
    async def test(client: Client, *_unused: object) -> None:
        client.writer.write(sent[:-1])
        await asyncio.sleep(0.05)
        client.writer.write(sent[-1:])
        status, _headers, body = await client.answer()
        expected = 100 if sent.startswith(POST) and sent.endswith(b"x") else 200
        assert status == expected
        if status == 200:
            assert body.startswith(sent[:4].strip())

    serving(test)


def test_what_is_refused_by_its_head_is_refused_before_the_body() -> None:
    async def test(client: Client, *_unused: object) -> None:
        client.writer.write(b"POST /unknown HTTP/1.1\r\n" + HOST + EXPECT + b"Content-Length: 9\r\n\r\n")
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (404, "close")
        assert await client.ended()

    serving(test)


def test_valid_requests_are_answered_before_the_invalid_one_after_them() -> None:
    async def test(client: Client, server: Server, application: Echo) -> None:
        client.writer.write((GET % b"large") * 30 + b"nonsense\r\n\r\n")
        await asyncio.sleep(0.1)
        for _ in range(30):
            assert (await client.answer())[2] == LARGE
        assert (await client.answer())[0] == 400
        assert await client.ended()
        assert [status for _, status in application.observed] == [200] * 30 + [400]

    serving(test)


@pytest.mark.parametrize("connection", [b"", b"Connection: close\r\n"])
def test_what_follows_a_request_in_a_task_does_not_end_the_task(connection: bytes) -> None:
    slow = Slow()

    async def test(client: Client, *_unused: object) -> None:
        client.writer.write(SLOW % (connection, 1) + b"x" + b"nonsense\r\n\r\n")
        slow.take.set()
        slow.answer.set()
        assert (await client.answer())[2] == b"1"
        assert await client.ended()

    serving(test, slow)


def test_what_follows_the_last_request_is_ignored() -> None:
    async def test(client: Client, server: Server, application: Echo) -> None:
        client.writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET % b"b")
        assert (await client.answer())[0] == 200
        assert await client.ended()
        assert application.observed == [(b"/a", 200)]

    serving(test)


def test_a_partial_request_behind_others_has_the_time_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.http.connection.REQUEST_SECONDS", 0.1)

    async def test(client: Client, *_unused: object) -> None:
        client.writer.write((GET % b"large") * 30 + b"GET /partial HT")
        await asyncio.sleep(0.1)
        for _ in range(30):
            await client.answer()
        assert (await client.answer())[0] == 408
        assert await client.ended()

    serving(test)


def test_the_error_of_a_head_request_has_no_body() -> None:
    async def test(client: Client, *_unused: object) -> None:
        client.writer.write(b"HEAD /p HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 40_000 + b"\r\n\r\n")
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ")
        assert await client.ended()

    serving(test)
