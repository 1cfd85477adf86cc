"""Requests and responses."""

import http
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

import msgspec


class Request(msgspec.Struct, gc=False):
    """A request. Header names are in lower case; the values of repeated headers are joined by commas.

    `traceparent` is that of the response: it names the request's span. `started` is when the first byte came,
    on `time.perf_counter`; `keep_alive` says whether another request may follow.
    """

    client: str
    method: bytes = b""
    target: bytes = b""
    path: bytes = b""
    query: bytes = b""
    http_version: str = "1.1"
    headers: dict[bytes, bytes] = {}
    traceparent: bytes = b""
    started: float = 0.0
    keep_alive: bool = True
    body: bytes = b""


class Response:
    """A response, encoded once; it may answer many requests, unless it is written in parts.

    Args:
        status: Status code.
        headers: Names in lower case. `content-length` is added.
        body: Content; the response to a HEAD request leaves it out.
        parts: Makes the parts of a long body, each within milliseconds, while they are written.

    Attributes:
        size: Bytes of the body, or of the parts written.
    """

    __slots__ = ("body", "head", "parts", "size", "status")

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[str, str]],
        body: bytes = b"",
        parts: Callable[[], Iterator[bytes]] | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.parts = parts
        self.size = len(body)
        lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers]
        # RFC 9110, 8.6, forbids content-length in a 204; in a 304 it would be that of the body left out.
        if parts is None and status not in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED):
            lines.append(f"content-length: {len(body)}\r\n")
        self.head = "".join(lines).encode("latin-1")


Receive = Callable[[int], Awaitable[bytes]]
"""Receives the body of a request, up to a number of bytes; raises HttpError if it is larger."""
AsyncHandler = Callable[[Request, Receive], Coroutine[Any, Any, Response] | None]
"""Called when the head of a request is complete. If it returns a coroutine, this answers in a task instead of
the application, and raises nothing. The body is not read before the task receives it. The task is cancelled
when the client disconnects."""
