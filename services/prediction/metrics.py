"""What the service tells Prometheus. A request adds to plain numbers; text is made of them when asked for."""

import platform
from collections.abc import Callable, Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from services.contracts.metrics import REQUEST_DURATION, REQUEST_DURATION_BUCKETS, REQUESTS
from services.histogram import Histogram


class Metrics(Collector):
    """Counts of requests, and gauges read when asked for. It belongs to the event loop's thread.

    Args:
        image: What runs here, told as build information.
        routes: Values of the label `route`.

    Attributes:
        cache_hits: Answers found ready.
        cache_misses: Answers made.
        gauges: Of each gauge: name, what it is, and how to read it.
    """

    def __init__(self, image: str, routes: Iterable[str]) -> None:
        self.cache_hits = 0
        self.cache_misses = 0
        self.gauges: list[tuple[str, str, Callable[[], float]]] = []
        self._image = image
        self._requests: dict[tuple[str, str, int], int] = {}
        self._durations = {route: Histogram(REQUEST_DURATION_BUCKETS) for route in routes}

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        key = (route, method, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._durations[route].observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        requests = CounterMetricFamily(REQUESTS, "Requests answered.", labels=["route", "method", "code"])
        for (route, method, status), count in self._requests.items():
            requests.add_metric([route, method, str(status)], count)
        yield requests
        durations = HistogramMetricFamily(
            REQUEST_DURATION,
            "Time from the first byte of a request to its answer.",
            labels=["route"],
        )
        for route, histogram in self._durations.items():
            durations.add_metric([route], histogram.buckets, histogram.total)
        yield durations
        cache = CounterMetricFamily(
            "prediction_cache_lookups", "Looks for a prepared answer.", labels=["outcome"]
        )
        cache.add_metric(["hit"], self.cache_hits)
        cache.add_metric(["miss"], self.cache_misses)
        yield cache
        for name, text, read in self.gauges:
            yield GaugeMetricFamily(name, text, read())
        build = GaugeMetricFamily(
            "prediction_build_info", "What runs here; always 1.", labels=["image", "python"]
        )
        build.add_metric([self._image, platform.python_version()], 1)
        yield build
