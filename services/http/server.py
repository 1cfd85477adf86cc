"""An HTTP/1.1 server for answers that are at hand: no task, no future and no copy a request.

Everything runs on the event loop. httptools (Node's llhttp) parses, strictly; what is left is bookkeeping.
Work that takes its time, and decides itself whether it wants the body, is a task of its own: see `Server`.
TLS and HTTP/2 are the load balancer's business, which speaks HTTP/1.1 with its backends.
"""

import asyncio
import collections
import email.utils
import http
import math
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, cast

import httptools
import msgspec

from services.http import trace_context as tracing

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_BODY_BYTES: Final = 64 * 1024
"""Of a body that work of its own does not ask for."""
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


class RefusedError(Exception):
    """A request is not answered with what it asks for.

    Attributes:
        status: Of the refusal.
        detail: What is wrong and what is allowed, in one sentence.
        parameter: The parameter at fault, if it is one.
        allowed: The values to choose from, or the limits of a number.
    """

    def __init__(
        self,
        status: http.HTTPStatus,
        detail: str,
        parameter: str | None = None,
        allowed: list[str] | dict[str, int] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.parameter = parameter
        self.allowed = allowed


class Request(msgspec.Struct, gc=False):
    """A request. Names of headers are in lower case; of a repeated header the last one counts."""

    client: str
    method: bytes = b""
    target: bytes = b""
    path: bytes = b""
    query: bytes = b""
    http_version: str = "1.1"
    headers: dict[bytes, bytes] = {}
    body: bytes = b""
    trace: tracing.Trace = tracing.NONE


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
        # RFC 9110, 8.6, forbids it in a 204; in a 304 it would be that of the body not sent.
        if status not in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED):
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


Receive = Callable[[int], Awaitable[bytes]]
"""Receives the body of a request, at most so many bytes of it; raises RefusedError if there are more."""
Work = Callable[[Request, Receive], Coroutine[Any, Any, Response] | None]


class Server:
    """Listens, and ends in order: `close` waits for the requests under way.

    Args:
        application: What answers.
        work: Asked of every request when its head is there. A coroutine answers instead of the application,
            in a task, and raises nothing. The body is not read before the task receives it; if the client
            goes away meanwhile, the task is cancelled.

    Attributes:
        application: What answers.
        work: As given.
        date: The `date` header's value, at most a second old.
        connections: Those that are open.
    """

    def __init__(self, application: Application, work: Work | None = None) -> None:
        self.application = application
        self.work = work
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


class _EndError(Exception):
    """A request has come before the one before it was answered; it is the client's to repeat."""


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
        self._request = Request("")
        self._receiving = False  # whether `_request` is not there as a whole
        self._in_head = True
        self._last = False  # no other request is answered after it
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._max_body_bytes = MAX_BODY_BYTES
        # Those that came while the client did not read; when each began, and whether it is the last.
        self._waiting: collections.deque[tuple[Request, float, bool]] = collections.deque()
        self._writable = True
        self._work: asyncio.Task[Response] | None = None
        self._received: asyncio.Future[bytes] | None = None  # the body that work waits for
        self._ended = False  # the client sends no more
        self._closing = False  # nothing more is answered

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return not self._receiving and self._work is None and self._writable

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
        if self._work is not None:
            self._work.cancel()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._closing:
            return
        if not self._receiving:
            self._started = time.perf_counter()
        body_bytes = self._body_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # An upgrade is an offer; whoever makes it was answered in HTTP/1.1, without keep-alive.
            return
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, RefusedError):
                self._refuse(error.__context__.status, error.__context__.detail)
                return
            if not isinstance(error.__context__, _EndError):
                raise
            self._ended = True
            self._receiving = False
            if not self._closing:
                self._transport.pause_reading()
        except httptools.HttpParserError as error:
            self._refuse(http.HTTPStatus.BAD_REQUEST, f"this is not HTTP/1.1: {error}")
            return
        if self._receiving:
            self.deadline = self._started + REQUEST_SECONDS
            # The parser holds back an incomplete field, of whatever length, in a head or after a body.
            if self._in_head or self._body_bytes == body_bytes:
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse(*_HEAD_TOO_LARGE)
        elif self._work is not None:
            self.deadline = math.inf
        else:
            self.deadline = self._started + (KEEP_ALIVE_SECONDS if self._writable else _WRITE_SECONDS)

    def eof_received(self) -> bool:
        """Called by the event loop. Returns whether there is something left to send."""
        self._ended = True
        return bool(self._waiting) or (self._work is not None and not self._receiving)

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
            self._go_on()

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self._work is not None:
            raise _EndError
        self._request = Request(self._client)
        self._receiving = True
        self._in_head = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Called by the parser, with a part or all of the target."""
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._head_bytes += len(name) + len(value)
        # What comes after a body is not to be taken for what came before it (RFC 9110, 6.5.1).
        if self._in_head:
            self._request.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        request, parser = self._request, self._parser
        if self._head_bytes + len(request.target) > MAX_HEAD_BYTES:
            raise RefusedError(*_HEAD_TOO_LARGE)
        self._in_head = False
        request.method = parser.get_method()
        request.http_version = parser.get_http_version()
        request.path, _, request.query = request.target.partition(b"?")
        if not request.path.startswith(b"/") and request.path != b"*":
            _take_absolute_target(request)
        request.trace = tracing.begin(request.headers.get(b"traceparent"))
        self._last = (
            not parser.should_keep_alive() or parser.should_upgrade() or request.http_version != "1.1"
        )
        if self._server.work is not None and self._begin_work(request, self._server.work):
            return
        self._expect_body(MAX_BODY_BYTES)

    def on_body(self, part: bytes) -> None:
        """Called by the parser."""
        self._body.append(part)
        self._body_bytes += len(part)
        if self._body_bytes > self._max_body_bytes:
            raise _too_large(self._max_body_bytes)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        request = self._request
        if self._body:
            request.body = b"".join(self._body)
            self._body.clear()
            self._body_bytes = 0
        self._receiving = False
        if self._work is not None:
            self._transport.pause_reading()
            if self._received is not None and not self._received.done():
                self._received.set_result(request.body)
        elif self._writable:
            self._answer(request, self._started, self._last)
        else:
            self._waiting.append((request, self._started, self._last))

    def close_if_idle(self) -> None:
        """Close the connection unless a request is under way."""
        if self.idle:
            self._close()

    def expire(self) -> None:
        """Give up what the connection is at."""
        if self._receiving and not self._closing:
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

    def _expect_body(self, max_bytes: int) -> None:
        """Have the client send the body; what is announced as too long is not waited for."""
        headers = self._request.headers
        if b"content-length" in headers and int(headers[b"content-length"]) > max_bytes:
            raise _too_large(max_bytes)
        self._max_body_bytes = max_bytes
        if b"expect" in headers and headers[b"expect"].lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _begin_work(self, request: Request, work: Work) -> bool:
        """Have work answer the request whose head is there, if it wants to."""
        coroutine = work(request, self._receive)
        if coroutine is None:
            return False
        if self._closing or not self._writable:
            coroutine.close()
            raise _EndError
        # Up to what one read from the socket brings is taken in unasked.
        self._max_body_bytes = sys.maxsize
        self._transport.pause_reading()
        self._work = asyncio.get_running_loop().create_task(coroutine)
        self._work.add_done_callback(self._end_work)
        return True

    async def _receive(self, max_bytes: int) -> bytes:
        if self._receiving:
            self._expect_body(max_bytes)
            if self._body_bytes <= max_bytes:
                self._received = asyncio.get_running_loop().create_future()
                self._transport.resume_reading()
                await self._received
        if max(self._body_bytes, len(self._request.body)) > max_bytes:
            raise _too_large(max_bytes)
        return self._request.body

    def _end_work(self, work: asyncio.Task[Response]) -> None:
        self._work = self._received = None
        if self._closing or work.cancelled():
            return
        request, response = self._request, work.result()
        if self._receiving:  # it is answered without its body
            self._send_last(request, response)
            return
        self._reply(request, response, self._started, self._last or self._ended)
        if not self._closing and self._writable:
            self._go_on()

    def _answer(self, request: Request, started: float, last: bool) -> None:
        if not self._closing:
            self._reply(request, self._application.answer(request), started, last)

    def _reply(self, request: Request, response: Response, started: float, last: bool) -> None:
        last = last or self._application.draining
        self._send(request, response, last)
        self._application.observe(request, response, time.perf_counter() - started)
        if last:
            self._close()

    def _go_on(self) -> None:
        """All there was is answered: read on."""
        self.deadline = time.perf_counter() + KEEP_ALIVE_SECONDS
        if self._ended:
            self._close()
        else:
            self._transport.resume_reading()

    def _refuse(self, status: http.HTTPStatus, detail: str) -> None:
        """Answer what is not a request that can be read, and read no more."""
        request = self._request if self._receiving else Request(self._client)
        request.path = request.target.partition(b"?")[0]
        request.trace = tracing.begin(request.headers.get(b"traceparent"))
        self._send_last(request, self._application.refuse(status, detail))

    def _send_last(self, request: Request, response: Response) -> None:
        """Answer what was not received as a whole, and read no more."""
        self._closing = True
        self._receiving = False
        self._waiting.clear()
        if self._work is not None:
            self._work.cancel()
        self._send(request, response, last=True)
        self._application.observe(request, response, time.perf_counter() - self._started)
        self.deadline = time.perf_counter() + _LINGER_SECONDS
        self._transport.resume_reading()
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


def _too_large(max_bytes: int) -> RefusedError:
    return RefusedError(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {max_bytes} bytes")


def _take_absolute_target(request: Request) -> None:
    """Path and query of `GET http://host/path?query` (RFC 9112, 3.2.2)."""
    try:
        url = httptools.parse_url(request.target)
    except httptools.HttpParserInvalidURLError:
        raise RefusedError(http.HTTPStatus.BAD_REQUEST, "this is not a request target") from None
    request.path, request.query = url.path or b"/", url.query or b""
