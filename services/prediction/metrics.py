"""Prometheus metrics of requests. A request adds to plain numbers; `collect` formats them."""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from services.contracts.metrics import REQUEST_DURATION, REQUEST_DURATION_BUCKETS, REQUESTS
from services.histogram import Histogram


class Metrics(Collector):
    """Counts requests and cache lookups. Not thread-safe."""

    def __init__(self, routes: Iterable[str]) -> None:
        self.cache_hits = 0
        self.cache_misses = 0
        self._requests: dict[tuple[str, str, int], int] = {}
        self._durations = {route: Histogram(REQUEST_DURATION_BUCKETS) for route in routes}

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = (route, method, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._durations[route].observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """The current metrics."""
        requests = CounterMetricFamily(REQUESTS, "Requests answered.", labels=["route", "method", "code"])
        for (route, method, status), count in self._requests.items():
            requests.add_metric([route, method, str(status)], count)
        yield requests
        durations = HistogramMetricFamily(
            REQUEST_DURATION, "Time from the first byte of a request to its response.", labels=["route"]
        )
        for route, histogram in self._durations.items():
            durations.add_metric([route], histogram.buckets, histogram.total)
        yield durations
        cache = CounterMetricFamily(
            "prediction_cache_lookups", "Lookups of cached responses.", labels=["outcome"]
        )
        cache.add_metric(["hit"], self.cache_hits)
        cache.add_metric(["miss"], self.cache_misses)
        yield cache
