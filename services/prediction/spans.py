"""Spans for an OpenTelemetry collector: OTLP over HTTP, in its JSON encoding.

The caller decides which traces are kept: the `sampled` flag of its `traceparent`. For this one kind of span
the OpenTelemetry SDK would be a heavy guest in a process of 40 MB.
See https://opentelemetry.io/docs/specs/otlp/#otlphttp.
"""

import collections
import logging
import threading
import time
import urllib.request
from typing import Any, Final

import msgspec

from services.http.server import Request, Response

_log = logging.getLogger(__name__)

_MAX_WAITING: Final = 4096
"""Spans kept for a collector that does not answer; the oldest are dropped."""
_BATCH: Final = 512
_WAIT_SECONDS: Final = 2.0
_TIMEOUT_SECONDS: Final = 5.0
_SERVER_KIND: Final = 2
_ERROR_STATUS: Final = 2


class SpanExporter:
    """Sends the spans of sampled requests from a thread of its own.

    Args:
        endpoint: Of the collector, as OTEL_EXPORTER_OTLP_ENDPOINT has it: without `/v1/traces`.
        service: Name of this service in traces.
    """

    def __init__(self, endpoint: str, service: str) -> None:
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._resource = {"attributes": [_attribute("service.name", service)]}
        self._waiting: collections.deque[dict[str, Any]] = collections.deque(maxlen=_MAX_WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="span-exporter", daemon=True)
        self._thread.start()

    def add(self, request: Request, response: Response, route: str, seconds: float) -> None:
        """Keep the span of a request until it is sent."""
        trace = request.trace
        end = time.time_ns()
        method = request.method.decode()
        span: dict[str, Any] = {
            "traceId": trace.trace_id,
            "spanId": trace.span_id,
            "parentSpanId": trace.caller,
            "name": f"{method} {route}",
            "kind": _SERVER_KIND,
            "startTimeUnixNano": str(end - int(seconds * 1e9)),
            "endTimeUnixNano": str(end),
            # https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server
            "attributes": [
                _attribute("http.request.method", method),
                _attribute("http.route", route),
                _attribute("url.path", request.path.decode("latin-1")),
                _attribute("url.query", request.query.decode("latin-1")),
                _attribute("client.address", request.client),
                {"key": "http.response.status_code", "value": {"intValue": str(response.status)}},
            ],
        }
        if response.status >= 500:
            span["status"] = {"code": _ERROR_STATUS}
        self._waiting.append(span)

    def stop(self) -> None:
        """Send what waits, and end."""
        self._stopping.set()
        self._thread.join(_TIMEOUT_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(_WAIT_SECONDS):
            self._send()
        self._send()

    def _send(self) -> None:
        while self._waiting:
            spans = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            body = msgspec.json.encode(
                {"resourceSpans": [{"resource": self._resource, "scopeSpans": [{"spans": spans}]}]}
            )
            request = urllib.request.Request(  # noqa: S310 -- an address of the operator's
                self._url, body, {"content-type": "application/json"}
            )
            try:
                urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS).close()  # noqa: S310
            except OSError as error:
                _log.warning("%s spans not taken by %s: %s", len(spans), self._url, error)
                return


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}
