"""Prometheus metrics of requests. A request adds to plain numbers; `collect` formats them.

The client's own counters and histograms take locks, and would be a tenth of the cost of a request.
"""

import bisect
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from services.contracts.metrics import REQUEST_DURATION, REQUEST_DURATION_BUCKETS, REQUESTS


class Metrics(Collector):
    """Counts requests and cache lookups. Not thread-safe."""

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
