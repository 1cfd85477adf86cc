"""An HTTP/1.1 server for answers that are at hand: no task, no future and no copy a request.

Everything runs on the event loop. httptools (Node's llhttp) parses, strictly; what is left is bookkeeping.
TLS and HTTP/2 are the load balancer's business, which speaks HTTP/1.1 with its backends.
"""

import asyncio
import collections
import email.utils
import http
import time
from collections.abc import Sequence
from typing import Final, Protocol, cast

import httptools

from services.prediction import tracing

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_BODY_BYTES: Final = 64 * 1024
MAX_CONNECTIONS: Final = 4096
REQUEST_SECONDS: Final = 15.0
"""From the first byte of a request to its last."""
KEEP_ALIVE_SECONDS: Final = 620.0
"""Of a connection without a request. Google's load balancers keep theirs for 600 s and ask for 620:
https://cloud.google.com/load-balancing/docs/https#timeout-keepalive-backends"""
_WRITE_SECONDS: Final = 30.0
"""For a client to read what fills its connection's buffers."""
_LINGER_SECONDS: Final = 2.0
"""After a refusal, for the client to read it: closing on what it still sends would discard the answer."""
_SWEEP_SECONDS: Final = 1.0
_BACKLOG: Final = 1024
_JOIN_BYTES: Final = 64 * 1024
"""Up to here, copying a body next to its head is cheaper than a second system call."""


class Request:
    """A request. Names of headers are in lower case; of a repeated header the last one counts."""

    __slots__ = ("body", "client", "headers", "http_version", "method", "path", "query", "target", "trace")

    def __init__(self, client: str) -> None:
        self.client = client
        self.method = b""
        self.target = b""
        self.path = b""
        self.query = b""
        self.http_version = "1.1"
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.trace = tracing.NONE


class Response:
    """An answer, ready to be sent; the same one may answer many requests.

    Args:
        status: Its status.
        headers: Names in lower case. `content-length` is added.
        body: Its content; not sent with an answer to HEAD.
    """

    __slots__ = ("body", "head", "status")

    def __init__(self, status: int, headers: Sequence[tuple[str, str]], body: bytes = b"") -> None:
        self.status = status
        self.body = body
        lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if status != http.HTTPStatus.NOT_MODIFIED:
            lines.append(f"content-length: {len(body)}")
        self.head = "".join(f"{line}\r\n" for line in lines)


class Application(Protocol):
    """What answers.

    Attributes:
        draining: Whether the process is about to stop, so that no connection is to be kept.
    """

    draining: bool

    def answer(self, request: Request) -> Response:
        """The answer to a request; raises nothing."""
        ...

    def refuse(self, status: http.HTTPStatus, detail: str) -> Response:
        """The answer to what is not a request."""
        ...

    def observe(self, request: Request, response: Response, seconds: float) -> None:
        """Told of every answer, and how long it took from the first byte of its request."""
        ...


class Server:
    """Listens, and ends in order: `close` waits for the requests under way.

    Attributes:
        application: What answers.
        date: The `date` header's value, at most a second old.
        connections: Those that are open.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.date = ""
        self.connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> None:
        """Accept connections from now on.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Connection(self), host, port, backlog=_BACKLOG)
        self._sweep()

    async def close(self, seconds: float) -> bool:
        """Stop listening, close connections without a request, wait for the others.

        Args:
            seconds: To wait for requests under way; they are cut off then.

        Returns:
            Whether all were answered.
        """
        assert self._listener is not None, "listen first"  # noqa: S101 -- the caller's mistake
        self._listener.close()
        for connection in [*self.connections]:
            connection.close_if_idle()
        deadline = time.perf_counter() + seconds
        while self.connections and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        unfinished = [*self.connections]
        for connection in unfinished:
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        return not unfinished

    @property
    def requests_under_way(self) -> int:
        """Requests that are not fully received, answered and handed to the system."""
        return sum(not connection.idle for connection in self.connections)

    def _sweep(self) -> None:
        """Once a second: tell the time, and end connections that are overdue."""
        self.date = email.utils.formatdate(usegmt=True)
        now = time.perf_counter()
        for connection in [each for each in self.connections if each.deadline < now]:
            connection.expire()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)


class _RefusedError(Exception):
    """What is being received will not be answered."""

    def __init__(self, status: http.HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Connection(asyncio.Protocol):
    """One client's connection: requests in, answers out, in order.

    Attributes:
        deadline: When, on `time.perf_counter`, to give up what the connection is at.
    """

    def __init__(self, server: Server) -> None:
        self._started = time.perf_counter()  # when the first byte came of the request being received
        self.deadline = self._started + KEEP_ALIVE_SECONDS
        self._server = server
        self._application = server.application
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None  # being received
        self._in_head = True
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        # Those that came while the client did not read; when each began, and whether it is the last.
        self._waiting: collections.deque[tuple[Request, float, bool]] = collections.deque()
        self._writable = True
        self._ended = False  # the client sends no more
        self._closing = False  # nothing more is answered

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self._request is None and self._writable

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)
        peer = self._transport.get_extra_info("peername")
        self._client = peer[0] if peer else ""
        self._server.connections.add(self)
        if len(self._server.connections) > MAX_CONNECTIONS:
            self._refuse(http.HTTPStatus.SERVICE_UNAVAILABLE, "there are too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._closing:
            return
        if self._request is None:
            self._started = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # An upgrade is an offer; whoever makes it was answered in HTTP/1.1, without keep-alive.
            return
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _RefusedError):
                raise
            self._refuse(error.__context__.status, error.__context__.detail)
            return
        except httptools.HttpParserError as error:
            self._refuse(http.HTTPStatus.BAD_REQUEST, f"this is not HTTP/1.1: {error}")
            return
        if self._request is None:
            self.deadline = self._started + (KEEP_ALIVE_SECONDS if self._writable else _WRITE_SECONDS)
        else:
            self.deadline = self._started + REQUEST_SECONDS
            # Of a head in several parts, the parser may hold any length back until a field is complete.
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse(*_HEAD_TOO_LARGE)

    def eof_received(self) -> bool:
        """Called by the event loop. Returns whether there is something left to send."""
        self._ended = True
        return bool(self._waiting)

    def pause_writing(self) -> None:
        """Called by the event loop when the client does not read what it is sent."""
        self._writable = False
        self._transport.pause_reading()
        self.deadline = time.perf_counter() + _WRITE_SECONDS

    def resume_writing(self) -> None:
        """Called by the event loop when it does again."""
        self._writable = True
        while self._waiting and self._writable and not self._closing:
            self._answer(*self._waiting.popleft())
        if self._writable and not self._closing:
            self.deadline = time.perf_counter() + KEEP_ALIVE_SECONDS
            if self._ended:
                self._close()
            else:
                self._transport.resume_reading()

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._request = Request(self._client)
        self._in_head = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Called by the parser, with a part or all of the target."""
        cast("Request", self._request).target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._head_bytes += len(name) + len(value)
        cast("Request", self._request).headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        request = cast("Request", self._request)
        if self._head_bytes + len(request.target) > MAX_HEAD_BYTES:
            raise _RefusedError(*_HEAD_TOO_LARGE)
        self._in_head = False
        headers = request.headers
        # What is announced as too long is not waited for.
        if b"content-length" in headers and int(headers[b"content-length"]) > MAX_BODY_BYTES:
            raise _RefusedError(*_BODY_TOO_LARGE)
        if headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        """Called by the parser."""
        self._body.append(part)
        self._body_bytes += len(part)
        if self._body_bytes > MAX_BODY_BYTES:
            raise _RefusedError(*_BODY_TOO_LARGE)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        request = cast("Request", self._request)
        parser = self._parser
        request.method = parser.get_method()
        request.http_version = parser.get_http_version()
        request.path, _, request.query = request.target.partition(b"?")
        if not request.path.startswith(b"/") and request.path != b"*":
            _take_absolute_target(request)
        if self._body:
            request.body = b"".join(self._body)
            self._body.clear()
            self._body_bytes = 0
        request.trace = tracing.begin(request.headers.get(b"traceparent"))
        self._request = None
        last = not parser.should_keep_alive() or parser.should_upgrade() or request.http_version != "1.1"
        if self._writable:
            self._answer(request, self._started, last)
        else:
            self._waiting.append((request, self._started, last))

    def close_if_idle(self) -> None:
        """Close the connection unless a request is under way."""
        if self.idle:
            self._close()

    def expire(self) -> None:
        """Give up what the connection is at."""
        if self._request is not None and not self._closing:
            self._refuse(
                http.HTTPStatus.REQUEST_TIMEOUT, f"the request did not arrive within {REQUEST_SECONDS:g} s"
            )
        elif self.idle and not self._closing:
            self._close()
        else:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once; what was not sent is lost."""
        self._closing = True
        self._transport.abort()

    def _answer(self, request: Request, started: float, last: bool) -> None:
        if self._closing:
            return
        response = self._application.answer(request)
        self._send(request, response, last or self._application.draining)
        self._application.observe(request, response, time.perf_counter() - started)
        if last or self._application.draining:
            self._close()

    def _refuse(self, status: http.HTTPStatus, detail: str) -> None:
        """Answer what is not a request that can be read, and read no more."""
        request, self._request = self._request or Request(self._client), None
        request.path = request.target.partition(b"?")[0]
        request.trace = tracing.begin(request.headers.get(b"traceparent"))
        response = self._application.refuse(status, detail)
        self._closing = True
        self._waiting.clear()
        self._send(request, response, last=True)
        self._application.observe(request, response, time.perf_counter() - self._started)
        self.deadline = time.perf_counter() + _LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _send(self, request: Request, response: Response, last: bool) -> None:
        end = "connection: close\r\n\r\n" if last else "\r\n"
        date, parent = self._server.date, request.trace.parent
        head = f"{response.head}date: {date}\r\ntraceparent: {parent}\r\n{end}".encode("latin-1")
        body = b"" if request.method == b"HEAD" else response.body
        if len(body) <= _JOIN_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    def _close(self) -> None:
        """Close the connection when all is sent."""
        self._closing = True
        self.deadline = time.perf_counter() + _WRITE_SECONDS
        self._transport.close()


_HEAD_TOO_LARGE: Final = (
    http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"target and headers have at most {MAX_HEAD_BYTES} bytes",
)
_BODY_TOO_LARGE: Final = (
    http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    f"a body has at most {MAX_BODY_BYTES} bytes",
)


def _take_absolute_target(request: Request) -> None:
    """Path and query of `GET http://host/path?query` (RFC 9112, 3.2.2)."""
    try:
        url = httptools.parse_url(request.target)
    except httptools.HttpParserInvalidURLError:
        raise _RefusedError(http.HTTPStatus.BAD_REQUEST, "this is not a request target") from None
    request.path, request.query = url.path or b"/", url.query or b""
