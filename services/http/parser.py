"""Parsing of requests within limits. httptools (llhttp of Node.js) does it, in its strict mode."""

import http
import time
from collections.abc import Callable
from typing import Final

import httptools

from services.http import trace_context
from services.http.messages import Request
from services.http.problems import HttpError

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_BODY_BYTES: Final = 64 * 1024
"""Limit of a body, unless the handler sets another one."""


class PipeliningError(Exception):
    """A request came before the response to the one before, and is dropped; the client may repeat it."""


class RequestParser:
    """Builds the requests of one connection from received bytes.

    Args:
        client: Address of the client.
        on_head: Called when target and headers of `request` are complete.
        on_request: Called when `request` is complete.

    Attributes:
        pipelining: Whether a request may begin before the response to the one before.
        request: The request that is being received, or the last one.
        keep_alive: Whether another request may follow it.
        started: When its first byte came, on `time.perf_counter`.
        receiving: Whether it is incomplete.
        body_bytes: Received bytes of its body.
        max_body_bytes: Limit of its body.
    """

    def __init__(self, client: str, on_head: Callable[[], None], on_request: Callable[[], None]) -> None:
        self.pipelining = True
        self._client = client
        self._on_head = on_head
        self._on_request = on_request
        self._parser = httptools.HttpRequestParser(self)

        self.request = Request(client)
        self.keep_alive = True
        self.started = time.perf_counter()
        self.receiving = False
        self.body_bytes = 0
        self.max_body_bytes = MAX_BODY_BYTES
        self._in_head = False
        self._head_bytes = 0
        self._body: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Parse received bytes.

        Raises:
            HttpError: they are no HTTP/1.1 request, or exceed a limit.
            PipeliningError: a request begins although `pipelining` is off.
        """
        if not self.receiving:
            self.started = time.perf_counter()
        body_bytes = self.body_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # A server may ignore an upgrade: this one has answered in HTTP/1.1, and closes.
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            raise HttpError(http.HTTPStatus.BAD_REQUEST, f"this is not HTTP/1.1: {error}") from None
        # The parser buffers an incomplete header or trailer of any length, without a callback.
        if self.receiving and (self._in_head or self.body_bytes == body_bytes):
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise _head_too_large()

    def limit_body(self, max_bytes: int) -> bool:
        """Set the limit of the body of `request`. Returns whether the client waits for 100 Continue.

        Raises:
            HttpError: the body is already known to be too large.
        """
        headers = self.request.headers
        announced = int(headers[b"content-length"]) if b"content-length" in headers else 0
        if announced > max_bytes or self.body_bytes > max_bytes:
            raise _body_too_large(max_bytes)
        self.max_body_bytes = max_bytes
        return b"expect" in headers and self.receiving and headers[b"expect"].lower() == b"100-continue"

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self.pipelining:
            raise PipeliningError
        self.request = Request(self._client)
        self.receiving = True
        self.body_bytes = 0
        self._in_head = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part or all of the target."""
        self.request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after the body."""
        self._head_bytes += len(name) + len(value)
        # A trailer must not be taken for a header (RFC 9110, 6.5.1).
        if self._in_head:
            self.request.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head of the request is complete."""
        request, parser = self.request, self._parser
        if self._head_bytes + len(request.target) > MAX_HEAD_BYTES:
            raise _head_too_large()
        self._in_head = False
        request.method = parser.get_method()
        request.http_version = parser.get_http_version()
        request.path, _, request.query = request.target.partition(b"?")
        if not request.path.startswith(b"/") and request.path != b"*":
            _parse_absolute_target(request)
        request.trace = trace_context.begin(request.headers.get(b"traceparent"))
        self.keep_alive = (
            parser.should_keep_alive() and not parser.should_upgrade() and request.http_version == "1.1"
        )
        self._on_head()

    def on_body(self, part: bytes) -> None:
        """A part or all of the body."""
        self._body.append(part)
        self.body_bytes += len(part)
        if self.body_bytes > self.max_body_bytes:
            raise _body_too_large(self.max_body_bytes)

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self._body:
            self.request.body = b"".join(self._body)
            self._body.clear()
        self.receiving = False
        self._on_request()


def _head_too_large() -> HttpError:
    return HttpError(
        http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"target and headers may have {MAX_HEAD_BYTES} bytes together",
    )


def _body_too_large(max_bytes: int) -> HttpError:
    return HttpError(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body may have {max_bytes} bytes")


def _parse_absolute_target(request: Request) -> None:
    """Set path and query of `GET http://host/path?query` (RFC 9112, 3.2.2)."""
    try:
        url = httptools.parse_url(request.target)
    except httptools.HttpParserInvalidURLError:
        raise HttpError(http.HTTPStatus.BAD_REQUEST, "this is not a request target") from None
    request.path, request.query = url.path or b"/", url.query or b""
