"""Requests and responses, among them the problem documents of errors (RFC 9457)."""

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from services.contracts.messages import Allowed, Problem

_log = logging.getLogger(__name__)

MAX_FORWARDED_BYTES: Final = 128
"""Of the end of X-Forwarded-For: two addresses are shorter."""


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


def client_address(request: Request) -> str:
    """The address of the client that sent a request."""
    forwarded = request.headers.get(b"x-forwarded-for", b"")[-MAX_FORWARDED_BYTES:]
    return forwarded_address(request.client, forwarded)


def forwarded_address(peer: str, header: bytes) -> str:
    """The address of the client of a connection, also behind a load balancer.

    Google's load balancers append it and their own to X-Forwarded-For
    (https://cloud.google.com/load-balancing/docs/https#x-forwarded-for_header); what is before, anyone can
    have written. Their proxies have private addresses, and network policies let nobody else reach a pod.
    """
    hops = header.split(b",")
    try:
        if len(hops) > 1 and ipaddress.ip_address(peer).is_private:
            return str(ipaddress.ip_address(hops[-2].strip().decode()))
    except ValueError:
        pass
    return peer


Headers = Sequence[tuple[str, str]]
"""Names in lower case, and values."""
Parts = Callable[[], Iterator[bytes]]
"""Makes the parts of a long body, each within milliseconds, while they are written."""


class Response:
    """A response, encoded once; it may answer many requests, unless it is written in parts.

    Args:
        headers: `content-length` is added.
        body: The response to a HEAD request leaves it out.

    Attributes:
        size: Bytes of the body, or of the parts written.
    """

    __slots__ = ("body", "head", "parts", "size", "status")

    def __init__(self, status: int, headers: Headers, body: bytes = b"", parts: Parts | None = None) -> None:
        self.status = status
        self.body = body
        self.parts = parts
        self.size = len(body)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers]
        # RFC 9110, 8.6, forbids content-length in a 204; in a 304 it would be that of the body left out.
        if parts is None and status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            lines.append(f"content-length: {len(body)}\r\n")
        self.head = "".join(lines).encode("latin-1")


class HttpError(Exception):
    """A request is answered with a problem document; `allowed` has values, or the limits of a number."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        parameter: str | None = None,
        allowed: Allowed | None = None,
        header: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        problem = Problem(False, status.phrase, status, detail, parameter, allowed)
        headers = [("content-type", "application/problem+json"), ("cache-control", "no-store")]
        headers += [header] if header else []
        self.response = Response(status, headers, msgspec.json.encode(problem))


def unavailable(detail: str) -> HttpError:
    """The error of a service that cannot answer now: the client may try again soon."""
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, detail, header=("retry-after", "1"))


def problem_document(request: Request, error: Exception) -> Response:
    """The response to a request whose handler raised an error."""
    if isinstance(error, HttpError):
        return error.response
    _log.error("%r %r failed", request.method, request.target, exc_info=error)
    return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "the error is logged").response


Receive = Callable[[int], Awaitable[bytes]]
"""Receives the body of a request, up to a number of bytes; raises HttpError if it is larger."""
AsyncHandler = Callable[[Request, Receive], Coroutine[Any, Any, Response] | None]
"""Called when the head of a request is complete. If it returns a coroutine, this answers in a task instead of
the application, and raises nothing. The body is not read before the task receives it. The task is cancelled
when the client disconnects."""
