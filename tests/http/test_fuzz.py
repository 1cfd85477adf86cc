"""Raw requests from fixed seeds: as a whole, in pieces, and against h11, another parser."""

import random
from typing import Any

import h11
import pytest

from services.http.messages import HttpError
from services.http.parser import MAX_HEAD_BYTES, RequestParser

SEEDS = 40
REQUESTS = 50

VALID_LINES = [b"GET / HTTP/1.1", b"POST /p?q=1 HTTP/1.1", b"HEAD /a%20b HTTP/1.1", b"GET / HTTP/1.0"]
LINES = [
    *VALID_LINES,
    *(b"GET http://x/p HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET / HTTP/2.0", b"GET /"),
]
HEADERS = [
    *(b"Host: x", b"Host: x:80", b"host: [::1]", b"Host: a b"),
    *(b"A: b", b"A:", b"A: b\tc ", b"A : b", b" folded", b": x", b"A: \xff", b"A: \x00"),
    *(b"Connection: close", b"Connection: Upgrade\r\nUpgrade: h2c", b"Expect: 100-continue"),
]
VALID_FRAMES = [
    (b"", b""),
    (b"Content-Length: 5", b"hello"),
    (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
]
FRAMES = [
    *VALID_FRAMES,
    (b"Content-Length: 0", b""),
    (b"Content-Length: -1", b""),
    (b"Content-Length: +5", b"hello"),
    (b"Content-Length: 9999999999999999999999", b""),
    (b"Content-Length: 5\r\nContent-Length: 6", b"hello"),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked", b"5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n"),
    (b"Transfer-Encoding: chunked", b"0x5\r\nhello\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked", b"5\r\nhello0\r\n\r\n"),
    (b"Transfer-Encoding: chunked", b"-1\r\n"),
    (b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked, gzip", b"0\r\n\r\n"),
]

Parsed = list[tuple[bytes, bytes, bytes]]


def generate(choice: random.Random) -> bytes:
    """One to three requests, most of them valid."""
    sent = b""
    for _ in range(choice.randint(1, 3)):
        line = choice.choice(VALID_LINES if choice.random() < 0.7 else LINES)
        host = [b"Host: x"] if choice.random() < 0.9 else []
        frame, body = choice.choice(VALID_FRAMES if choice.random() < 0.6 else FRAMES)
        headers = host + choice.choices(HEADERS, k=choice.choice([0, 0, 1, 2])) + ([frame] if frame else [])
        sent += b"\r\n".join([line, *headers, b"", body])
    if choice.random() < 0.3:
        at = choice.randrange(len(sent))
        sent = (
            sent[:at]
            + choice.choice([b"", b"\n", b"\r", b" ", bytes([choice.randrange(256)])])
            + sent[at + 1 :]
        )
    return sent


def parse(parts: list[bytes]) -> tuple[Parsed, int | None, bool]:
    """The requests, the status that refuses the next one, and whether another one may follow."""
    requests: Parsed = []
    more = True

    def on_request() -> None:
        nonlocal more
        if more:
            requests.append((parser.request.method, parser.request.target, parser.request.body))
        more = more and parser.request.keep_alive

    parser = RequestParser("", lambda: None, on_request)
    for part in parts:
        try:
            parser.feed(part)
        except HttpError as error:
            return requests, error.response.status if more else None, False
    return requests, None, more


def parse_with_h11(sent: bytes) -> tuple[Parsed, bool]:
    """The requests, and whether h11 refuses the next one."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    requests: Parsed = []
    connection.receive_data(sent)
    head: h11.Request | None = None
    body = b""
    try:
        while True:
            event: Any = connection.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                requests.append((head.method, head.target, body))
                status = h11.Response(status_code=204, headers=[])
                connection.send(status)
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return requests, False
                connection.start_next_cycle()
            else:
                return requests, False
    except h11.RemoteProtocolError:
        return requests, True


@pytest.mark.parametrize("seed", range(SEEDS))
def test_fuzz(seed: int) -> None:
    choice = random.Random(seed)
    for _ in range(REQUESTS):
        sent = generate(choice)
        whole = parse([sent])

        cuts = sorted(choice.choices(range(len(sent) + 1), k=choice.randint(1, 6)))
        pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
        assert parse(pieces) == whole, pieces

        # This server may refuse more, and closes earlier.
        requests, _, more = whole
        expected, refused = parse_with_h11(sent)
        assert requests == expected[: len(requests)], sent
        assert not (more and refused), sent
