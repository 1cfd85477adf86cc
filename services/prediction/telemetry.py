"""What is told of requests: Prometheus metrics, and the access log with a line of JSON for each."""

import bisect
import functools
import time
from collections.abc import Iterable
from http import HTTPStatus
from itertools import accumulate
from typing import Final

import msgspec
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from services import runtime
from services.contracts.metrics import REQUEST_DURATION, REQUEST_DURATION_BUCKETS, REQUESTS
from services.http import trace_context
from services.http.messages import MAX_FORWARDED_BYTES, Request, Response, forwarded_address

_MAX_TARGET: Final = 1024
_MAX_USER_AGENT: Final = 256

_SPAN: Final = b'","logging.googleapis.com/spanId":"'
_SAMPLED: Final = b'","logging.googleapis.com/trace_sampled":true,'
_NOT_SAMPLED: Final = b'","logging.googleapis.com/trace_sampled":false,'


class Metrics(Collector):
    """Counts requests and cache lookups in plain numbers; not thread-safe.

    The client's own counters and histograms take locks, and would be a tenth of the cost of a request.
    """

    def __init__(self, routes: Iterable[str]) -> None:
        self.cache_hits = 0
        self.cache_misses = 0
        self._requests: dict[tuple[str, str, int], int] = {}
        # Requests by bucket, whose upper bounds ascend; the last bucket has none. And their sums.
        self._durations = {route: [0] * (len(REQUEST_DURATION_BUCKETS) + 1) for route in routes}
        self._seconds = dict.fromkeys(self._durations, 0.0)

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = (route, method, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._durations[route][bisect.bisect_left(REQUEST_DURATION_BUCKETS, seconds)] += 1
        self._seconds[route] += seconds

    def collect(self) -> Iterable[Metric]:
        """The current metrics."""
        requests = CounterMetricFamily(REQUESTS, "Requests answered.", labels=["route", "method", "code"])
        for (route, method, status), count in self._requests.items():
            requests.add_metric([route, method, str(status)], count)
        yield requests
        durations = HistogramMetricFamily(
            REQUEST_DURATION, "Time from the first byte of a request to its response.", labels=["route"]
        )
        bounds = [*map(floatToGoString, REQUEST_DURATION_BUCKETS), "+Inf"]
        for route, counts in self._durations.items():
            buckets = [*zip(bounds, map(float, accumulate(counts)), strict=True)]
            durations.add_metric([route], buckets, self._seconds[route])
        yield durations
        cache = CounterMetricFamily(
            "prediction_cache_lookups", "Lookups of cached responses.", labels=["outcome"]
        )
        cache.add_metric(["hit"], self.cache_hits)
        cache.add_metric(["miss"], self.cache_misses)
        yield cache


class AccessLog:
    """Logs requests: https://cloud.google.com/logging/docs/structured-logging#special-payload-fields."""

    def __init__(self, trace_project: str | None) -> None:
        self._second = 0
        self._seconds = b""  # the beginning of a line of this second
        prefix = trace_context.log_prefix(trace_project)
        self._microseconds = f'%06dZ","{trace_context.LOG_FIELD}":"{prefix}'.encode()

    def add(self, request: Request, response: Response, seconds: float) -> None:
        """Log a request, its response and how long it took."""
        headers, trace = request.headers, request.traceparent
        shared = _shared(
            request.method,
            request.target[: _MAX_TARGET + 1],
            response.status,
            response.size,
            request.client,
            headers.get(b"x-forwarded-for", b"")[-MAX_FORWARDED_BYTES:],
            headers.get(b"user-agent", b"")[: _MAX_USER_AGENT + 1],
            request.http_version,
        )
        now = time.time()
        if (second := int(now)) != self._second:
            self._second = second
            self._seconds = time.strftime('{"time":"%Y-%m-%dT%H:%M:%S.', time.gmtime(second)).encode()
        sampled = _SAMPLED if trace.endswith(b"1") else _NOT_SAMPLED
        microseconds = self._microseconds % ((now - second) * 1e6)
        latency = b'%.6fs"}}' % seconds
        line = (self._seconds, microseconds, trace[3:35], _SPAN, trace[36:52], sampled, shared, latency)
        runtime.stdout.write(b"".join(line))


@functools.lru_cache(maxsize=1024)
def _shared(
    method: bytes,
    target: bytes,
    status: int,
    size: int,
    peer: str,
    forwarded: bytes,
    user_agent: bytes,
    version: str,
) -> bytes:
    """The middle of a line, up to the latency: it is the same whenever a client repeats a request."""
    verb, url = method.decode(), _text(target, _MAX_TARGET)
    fields = {
        "severity": "ERROR" if status == HTTPStatus.INTERNAL_SERVER_ERROR else "INFO",
        "message": f"{verb} {url} {status}",
        # Ends with what comes before the latency:
        # https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#HttpRequest
        "httpRequest": {
            "requestMethod": verb,
            "requestUrl": url,
            "status": status,
            "responseSize": str(size),
            "remoteIp": forwarded_address(peer, forwarded),
            "userAgent": _text(user_agent, _MAX_USER_AGENT),
            "protocol": f"HTTP/{version}",
        },
    }
    return b'%b,"latency":"' % msgspec.json.encode(fields).removeprefix(b"{").removesuffix(b"}}")


def _text(value: bytes, limit: int) -> str:
    """What a client sent, as printable ASCII of bounded length."""
    text = value[:limit].decode("ascii", "backslashreplace").replace("\x7f", "\\x7f")
    return f"{text}..." if len(value) > limit else text
