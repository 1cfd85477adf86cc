"""Parsing of requests within limits. httptools (llhttp of Node.js) does it, in its strict mode."""

import functools
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import httptools

from services.http import trace_context
from services.http.messages import HttpError, Request

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_BODY_BYTES: Final = 64 * 1024
"""Limit of a body, unless the handler sets another one."""
_HOST: Final = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]*|\[[\da-fA-F:.]+\])(?::\d{0,5})?", re.ASCII)
"""RFC 9110, 7.2: a name or an address, and a port. A request without an authority has an empty one."""
_MAX_HOST_BYTES: Final = 261
"""RFC 1035, 2.3.4: 255 of a name; and a port."""


class PipeliningError(Exception):
    """A request came before the response to the one before, and is dropped; the client may repeat it."""


class RequestParser:
    """Builds the requests of one connection from received bytes.

    Attributes:
        pipelining: Whether a request may begin before the response to the one before.
        request: The request that is being received, or the last one.
        started: When its first byte came, on `time.perf_counter`.
        receiving: Whether it is incomplete.
        max_body_bytes: Limit of its body.
    """

    def __init__(self, client: str, on_head: Callable[[], None], on_request: Callable[[], None]) -> None:
        self.pipelining = True
        self._client = client
        self._on_head = on_head
        self._on_request = on_request
        self._parser = httptools.HttpRequestParser(self)

        self.request = Request(client)
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self.started = time.perf_counter()
        self.receiving = False
        self._body_bytes = 0
        self.max_body_bytes = MAX_BODY_BYTES
        self._in_head = False
        self._head_bytes = 0
        self._silent_bytes = 0  # received since the last callback: the parser buffers an incomplete header
        self._body: list[bytes] = []

    def feed(self, data: bytes | memoryview) -> None:
        """Parse received bytes.

        Raises:
            HttpError: they are no HTTP/1.1 request, or exceed a limit.
            PipeliningError: a request begins although `pipelining` is off.
        """
        if not self.receiving:
            self.started = time.perf_counter()
        self._silent_bytes += len(data)
        rest = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = bytes(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            if self.request.keep_alive or self.receiving:
                raise HttpError(HTTPStatus.BAD_REQUEST, f"this is not HTTP/1.1: {error}") from None
            # What follows the last request of a connection is no request.
        if self.receiving:
            if rest is not None:
                self._ignore_upgrade(rest)
            elif self._head_bytes + self._silent_bytes > MAX_HEAD_BYTES:
                raise _head_too_large()

    def so_far(self) -> Request:
        """What is known of the request that is being received; an empty one if there is none."""
        if self.receiving and not self._in_head:
            return self.request
        target, headers = (self._target, self._headers) if self.receiving else (b"", {})
        request = Request(self._client, target=target, path=target.partition(b"?")[0], headers=headers)
        request.traceparent = trace_context.begin(headers.get(b"traceparent"))
        return request

    def limit_body(self, max_bytes: int) -> None:
        """Set the limit of the body of `request`; HttpError if it is known to be larger."""
        announced = int(self.request.headers.get(b"content-length", 0))
        if announced > max_bytes or self._body_bytes > max_bytes:
            raise _body_too_large(max_bytes)
        self.max_body_bytes = max_bytes

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for 100 Continue before it sends the body."""
        request, headers = self.request, self.request.headers
        return (
            headers.get(b"expect", b"").lower() == b"100-continue"
            and request.http_version == "1.1"
            and self.receiving
            and self._body_bytes == 0
            and (b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0")
        )

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse the request anew as the connection's last: httptools skips the body before an upgrade."""
        request = self.request
        self._parser = httptools.HttpRequestParser(self)
        head = [b"%b %b HTTP/%b" % (request.method, request.target, request.http_version.encode())]
        headers = request.headers | {b"connection": b"close"}
        head += [b"%b: %b" % each for each in headers.items()]
        self.feed(b"\r\n".join([*head, b"", rest]))

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self.pipelining:
            raise PipeliningError
        self._target = b""
        self._headers = {}
        self.receiving = True
        self._body_bytes = 0
        self._in_head = True
        self._head_bytes = self._silent_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part or all of the target."""
        self._target += url
        self._head_bytes += len(url)
        self._silent_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after the body."""
        self._head_bytes += len(name) + len(value)
        self._silent_bytes = 0
        # A trailer must not be taken for a header (RFC 9110, 6.5.1).
        if self._in_head:
            name, headers = name.lower(), self._headers
            headers[name] = b"%b, %b" % (headers[name], value) if name in headers else value

    def on_headers_complete(self) -> None:
        """The head of the request is complete."""
        parser, client, target, headers = self._parser, self._client, self._target, self._headers
        path, _, query = target.partition(b"?")
        method, version, upgrade = parser.get_method(), parser.get_http_version(), parser.should_upgrade()
        traceparent = trace_context.begin(headers.get(b"traceparent"))
        keep_alive = parser.should_keep_alive() and not upgrade and version == "1.1"
        # One call: setting the attributes one by one costs more.
        self.request = request = Request(
            client, method, target, path, query, version, headers, traceparent, self.started, keep_alive
        )
        if upgrade and request.method != b"CONNECT":
            return
        self._in_head = False
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _head_too_large()
        _check_head(request)
        if not path.startswith(b"/") and path != b"*":
            _parse_absolute_target(request)
        self._on_head()

    def on_body(self, part: bytes) -> None:
        """A part or all of the body."""
        self._silent_bytes = 0
        self._body.append(part)
        self._body_bytes += len(part)
        if self._body_bytes > self.max_body_bytes:
            raise _body_too_large(self.max_body_bytes)

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self._in_head:
            return  # It asks for an upgrade: `feed` goes on.
        if self._body:
            self.request.body = b"".join(self._body)
            self._body.clear()
        self.receiving = False
        self._on_request()


def _check_head(request: Request) -> None:
    """Refuse what llhttp accepts: HttpError for another version, host or encoding of the body."""
    if request.http_version not in ("1.0", "1.1"):
        raise HttpError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "allowed here: HTTP/1.1 and HTTP/1.0")
    host = request.headers.get(b"host")
    if host is None:
        if request.http_version == "1.1":
            raise HttpError(HTTPStatus.BAD_REQUEST, "HTTP/1.1 requires the header Host")
    elif len(host) > _MAX_HOST_BYTES or not _is_host(host):
        raise HttpError(HTTPStatus.BAD_REQUEST, "the header Host must be one name or address")
    if request.headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        raise HttpError(HTTPStatus.NOT_IMPLEMENTED, "the only transfer encoding here is chunked")


@functools.lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    """Whether a Host header is valid. Two of them are not: joined, they have a space."""
    return _HOST.fullmatch(value) is not None


def _head_too_large() -> HttpError:
    return HttpError(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"target and headers may have {MAX_HEAD_BYTES} bytes together",
    )


def _body_too_large(max_bytes: int) -> HttpError:
    return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body may have {max_bytes} bytes")


def _parse_absolute_target(request: Request) -> None:
    """Set path and query of `GET http://host/path?query` (RFC 9112, 3.2.2)."""
    try:
        url = httptools.parse_url(request.target)
    except httptools.HttpParserInvalidURLError:
        raise HttpError(HTTPStatus.BAD_REQUEST, "this is not a request target") from None
    request.path, request.query = url.path or b"/", url.query or b""
