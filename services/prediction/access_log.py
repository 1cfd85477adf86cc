"""The access log: one line of JSON for each request, written in batches."""

import asyncio
import datetime
import http
import sys
from typing import Final

import msgspec
from msgspec import field

from services.http import trace_context
from services.http.messages import Request, Response

_FLUSH_SECONDS: Final = 0.1
_MAX_LINES: Final = 1000

_encode = msgspec.json.Encoder().encode
_now = datetime.datetime.now
_UTC = datetime.UTC


class _HttpRequest(msgspec.Struct, rename="camel", gc=False):
    """https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#HttpRequest."""

    request_method: str
    request_url: str
    status: int
    response_size: str
    latency: str
    remote_ip: str
    user_agent: str
    protocol: str


class _Line(msgspec.Struct, gc=False):
    """https://cloud.google.com/logging/docs/structured-logging#special-payload-fields."""

    time: datetime.datetime
    severity: str
    message: str
    http_request: _HttpRequest = field(name="httpRequest")
    trace: str = field(name=trace_context.LOG_FIELD)
    span_id: str = field(name="logging.googleapis.com/spanId")
    sampled: bool = field(name="logging.googleapis.com/trace_sampled")


class AccessLog:
    """Buffers lines for up to a tenth of a second, so that one system call writes many.

    Args:
        trace_project: Google Cloud project of the traces, if any.
    """

    def __init__(self, trace_project: str | None) -> None:
        self._trace_prefix = trace_context.log_prefix(trace_project)
        self._lines: list[bytes] = []

    def add(self, request: Request, response: Response, seconds: float) -> None:
        """Log a request, its response and how long it took."""
        method, target, status = request.method.decode(), request.target.decode("latin-1"), response.status
        trace = request.trace
        line = _Line(
            _now(_UTC),
            "ERROR" if status == http.HTTPStatus.INTERNAL_SERVER_ERROR else "INFO",
            f"{method} {target} {status}",
            _HttpRequest(
                method,
                target,
                status,
                str(len(response.body)),
                f"{seconds:.6f}s",
                request.client,
                request.headers.get(b"user-agent", b"").decode("latin-1"),
                f"HTTP/{request.http_version}",
            ),
            self._trace_prefix + trace.trace_id,
            trace.span_id,
            trace.sampled,
        )
        lines = self._lines
        if not lines:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        lines.append(_encode(line))
        if len(lines) >= _MAX_LINES:
            self.flush()

    def flush(self) -> None:
        """Write buffered lines."""
        if self._lines:
            self._lines.append(b"")
            sys.stdout.buffer.write(b"\n".join(self._lines))
            sys.stdout.buffer.flush()
            self._lines.clear()
