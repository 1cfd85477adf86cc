"""One client's connection: requests in, responses out, in order, on the event loop.

A request costs no task, no future and no copy, unless it has an asynchronous handler or a long response.
"""

import asyncio
import collections
import functools
import logging
import math
import sys
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from services.http.messages import AsyncHandler, HttpError, Request, Response, client_address
from services.http.parser import MAX_BODY_BYTES, PipeliningError, RequestParser

if TYPE_CHECKING:
    from services.http.server import Server

_log = logging.getLogger(__name__)

REQUEST_SECONDS: Final = 15.0
"""From the first byte of a request to its last."""
KEEP_ALIVE_SECONDS: Final = 620.0
"""Of a connection without a request. Google's load balancers keep theirs for 600 s and ask for 620:
https://cloud.google.com/load-balancing/docs/https#timeout-keepalive-backends"""
WRITE_SECONDS: Final = 30.0
"""For a client to read from a connection whose buffers are full."""
_STREAM_SECONDS: Final = 300.0
"""For a client to take a whole response in parts."""
_LINGER_SECONDS: Final = 2.0
"""For a client to read an early response: closing while it still sends would discard the response."""
_REFUSALS: Final = 64
"""So many connections beyond the limit are refused with a response; more are only closed."""
_JOIN_BYTES: Final = 64 * 1024
"""Up to this size, copying a body behind its head is cheaper than a second system call."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.BufferedProtocol):
    """A connection. Without pipelining, only `_parser.request` is in flight."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._application = server.application
        self._eof = False  # the client sends no more requests
        self._closing = False  # no more responses are sent
        self._writable = True
        self._read_by = math.inf  # deadline of what the client does not read, or of the end
        self._stream: asyncio.Task[None] | None = None  # writes a response in parts; nothing else is written
        self._drained = asyncio.Event()  # for the stream
        self._pipeline: collections.deque[Request] = collections.deque()  # came while the client did not read
        self._error: HttpError | None = None  # what is wrong with the request after those
        self._task: asyncio.Task[Response] | None = None  # of the asynchronous handler
        self._body: asyncio.Future[bytes] | None = None  # awaited by the task

    @property
    def idle(self) -> bool:
        """Whether no request is in flight."""
        return not self._parser.receiving and self._task is None and self._writable

    @property
    def deadline(self) -> float:
        """When the server calls `time_out`, on `time.perf_counter`."""
        if self._closing or not self._writable:
            return self._read_by
        if self._parser.receiving:
            return self._parser.started + REQUEST_SECONDS
        return math.inf if self._task is not None else self._parser.started + KEEP_ALIVE_SECONDS

    # Callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast("asyncio.Transport", transport)
        peer = self._transport.get_extra_info("peername")
        client = peer[0] if peer else ""
        self._parser = RequestParser(client, self._on_head, self._on_request)
        server = self._server
        try:
            server.count(self, client)
        except HttpError as error:
            if len(server.connections) > server.max_connections + _REFUSALS:
                self.abort()
            else:
                self._reject(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._server.forget(self)
        for task in (self._task, self._stream):
            if task is not None:
                task.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where bytes are to be received."""
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        if self._closing:
            return
        try:
            self._parser.feed(self._server.buffer[:nbytes])
            if self._parser.receiving:
                # Who sends a request slowly may be behind a load balancer.
                self._server.count(self, client_address(self._parser.so_far()))
        except HttpError as error:
            self._on_error(error)
        except PipeliningError:
            self._end_reading()

    def eof_received(self) -> bool:
        """The client sends no more. Returns whether to keep the connection for responses."""
        self._eof = True
        return (
            self._stream is not None
            or bool(self._pipeline)
            or (self._task is not None and not self._parser.receiving)
        )

    def pause_writing(self) -> None:
        """The client does not read, and buffers are full."""
        self._writable = False
        self._drained.clear()
        self._transport.pause_reading()
        self._read_by = time.perf_counter() + WRITE_SECONDS

    def resume_writing(self) -> None:
        """The client reads again."""
        self._drained.set()
        if self._stream is None:
            self._answer_waiting()

    def _answer_waiting(self) -> None:
        self._writable = True
        while self._pipeline and self._writable and not self._closing:
            self._answer(self._pipeline.popleft())
        self._resume_reading()

    # Calls of the server

    def close_if_idle(self) -> bool:
        """Close the connection unless a request is in flight. Returns whether it did."""
        if self._closing or not self.idle:
            return False
        self._close()
        return True

    def time_out(self) -> None:
        """Close the connection after its deadline."""
        if self._parser.receiving and self._writable and not self._closing:
            detail = f"the request did not arrive within {REQUEST_SECONDS:g} s"
            self._reject(HttpError(HTTPStatus.REQUEST_TIMEOUT, detail))
        elif not self.close_if_idle():
            self.abort()

    def abort(self) -> None:
        """Close the connection at once and discard unsent responses."""
        self._closing = True
        self._transport.abort()

    # Requests

    def _on_head(self) -> None:
        handler = self._server.async_handler
        if handler is not None and self._start_task(handler):
            return
        parser = self._parser
        parser.limit_body(MAX_BODY_BYTES)
        if not parser.expects_continue or self._closing or not self._writable:
            return
        refusal = self._application.refusal(parser.request)
        if refusal is None:
            self._transport.write(_CONTINUE)
        else:
            self._respond_early(parser.request, refusal)

    def _on_error(self, error: HttpError) -> None:
        """Refuse what came, after the responses to the requests before it."""
        if self._closing:
            return
        if self._task is not None and not self._parser.receiving:
            self._end_reading()
        elif not self._writable:
            self._error = error
            self._transport.pause_reading()
        else:
            self._reject(error)

    def _end_reading(self) -> None:
        """Answer what is complete, then close the connection."""
        self._eof = True
        self._parser.receiving = False
        if not self._closing:
            self._transport.pause_reading()

    def _on_request(self) -> None:
        parser = self._parser
        if self._task is not None:
            self._transport.pause_reading()
            if self._body is not None and not self._body.done():
                self._body.set_result(parser.request.body)
        elif self._writable:
            self._answer(parser.request)
        else:
            self._pipeline.append(parser.request)

    def _start_task(self, handler: AsyncHandler) -> bool:
        """Answer the request whose head is complete in a task, if the handler takes it."""
        parser = self._parser
        coroutine = handler(parser.request, self._receive)
        if coroutine is None:
            return False
        if self._closing or not self._writable:
            coroutine.close()
            raise PipeliningError
        parser.pipelining = False
        # What one read from the socket brings is accepted before the handler sets a limit.
        parser.max_body_bytes = sys.maxsize
        self._transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(coroutine)
        self._task.add_done_callback(self._on_task_done)
        return True

    async def _receive(self, max_bytes: int) -> bytes:
        """Receive the body for the task."""
        self._parser.limit_body(max_bytes)
        if self._parser.expects_continue:
            self._transport.write(_CONTINUE)
        if self._parser.receiving:
            self._body = asyncio.get_running_loop().create_future()
            self._transport.resume_reading()
            await self._body
        return self._parser.request.body

    def _on_task_done(self, task: asyncio.Task[Response]) -> None:
        parser = self._parser
        self._task = self._body = None
        parser.pipelining = True
        if self._closing or task.cancelled():
            return
        if parser.receiving:
            self._respond_early(parser.request, task.result())
            return
        parser.request.keep_alive &= not self._eof
        self._respond(parser.request, task.result())
        self._resume_reading()

    def _resume_reading(self) -> None:
        """Read the next request when all responses are written."""
        if self._closing or not self._writable:
            return
        if self._error is not None:
            self._reject(self._error)
        elif self._eof:
            self._close()
        else:
            if not self._parser.receiving:
                self._parser.started = time.perf_counter()
            self._transport.resume_reading()

    # Responses

    def _answer(self, request: Request) -> None:
        if not self._closing:
            self._respond(request, self._application.answer(request))

    def _respond(self, request: Request, response: Response) -> None:
        if response.parts is not None and request.method != b"HEAD":
            try:
                self._start_stream(request, response, response.parts())
                return
            except HttpError as error:
                response = error.response
        keep_alive = request.keep_alive and not self._application.draining
        self._write(request, response, keep_alive)
        self._application.observe(request, response, time.perf_counter() - request.started)
        if not keep_alive:
            self._close()

    def _start_stream(self, request: Request, response: Response, parts: Iterator[bytes]) -> None:
        client = client_address(request)
        self._server.begin_stream(client)
        self._writable = False
        self._read_by = time.perf_counter() + WRITE_SECONDS
        self._drained.set()
        self._transport.pause_reading()
        self._stream = asyncio.get_running_loop().create_task(self._write_parts(request, response, parts))
        self._stream.add_done_callback(functools.partial(self._on_stream_done, client))

    async def _write_parts(self, request: Request, response: Response, parts: Iterator[bytes]) -> None:
        # Clients of HTTP/1.0 learn from the end of the connection where the body ends.
        chunked = request.http_version == "1.1"
        keep_alive = request.keep_alive and not self._application.draining
        self._write(request, response, keep_alive)
        last = time.perf_counter() + _STREAM_SECONDS
        part: bytes | None = b""
        while part is not None:
            await self._drained.wait()
            async with self._server.turn:
                await asyncio.sleep(0)
                part = next(parts, None)
            if part:
                response.size += len(part)
                self._read_by = min(time.perf_counter() + WRITE_SECONDS, last)
                self._transport.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        self._stream = None
        if chunked:
            self._transport.write(b"0\r\n\r\n")
        self._application.observe(request, response, time.perf_counter() - request.started)
        if not keep_alive or self._application.draining:
            self._close()
        elif self._drained.is_set():
            self._answer_waiting()

    def _on_stream_done(self, client: str, task: asyncio.Task[None]) -> None:
        self._server.end_stream(client)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a response broke off", exc_info=task.exception())
            self.abort()

    def _reject(self, error: HttpError) -> None:
        """Answer what cannot be read as a request."""
        self._respond_early(self._parser.so_far(), error.response)

    def _respond_early(self, request: Request, response: Response) -> None:
        """Answer an incomplete request, then close the connection: the rest is not parsed."""
        self._closing = True
        self._parser.receiving = False
        self._pipeline.clear()
        if self._task is not None:
            self._task.cancel()
        self._write(request, response, keep_alive=False)
        self._application.observe(request, response, time.perf_counter() - self._parser.started)
        self._read_by = time.perf_counter() + _LINGER_SECONDS
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _write(self, request: Request, response: Response, keep_alive: bool) -> None:
        end = b"\r\n\r\n" if keep_alive else b"\r\nconnection: close\r\n\r\n"
        if response.parts is not None and request.http_version == "1.1":
            end = b"\r\ntransfer-encoding: chunked" + end
        head = (response.head, self._server.date_and_trace, request.traceparent, end)
        body = b"" if request.method == b"HEAD" else response.body
        if len(body) <= _JOIN_BYTES:
            self._transport.write(b"".join((*head, body)))
        else:
            self._transport.write(b"".join(head))
            self._transport.write(body)

    def _close(self) -> None:
        """Close the connection when all responses are sent."""
        self._closing = True
        self._read_by = time.perf_counter() + WRITE_SECONDS
        self._transport.close()
