"""Prometheus metrics of the service, and reports of failures."""

import logging
from collections.abc import Awaitable
from typing import Any, Final

from google.api_core import exceptions
from prometheus_client import Counter, Gauge, Histogram

from services.contracts import metrics

_log = logging.getLogger(__name__)

RECEIVED: Final = Counter("streaming_messages_received", "Messages received, redelivered ones included.")
MESSAGES: Final = Counter(
    metrics.MESSAGES,
    "Messages by kind (passive, active, invalid) and outcome (acknowledged, released, duplicate).",
    ["kind", "outcome"],
)
LATENCY: Final = Histogram(
    metrics.MESSAGE_LATENCY,
    "Time from publishing a request to acknowledging it.",
    buckets=metrics.MESSAGE_LATENCY_BUCKETS,
)
BATCH: Final = Histogram(
    "streaming_batch_messages",
    "Messages processed together.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
OLDEST: Final = Gauge(
    metrics.OLDEST_MESSAGE_AGE, "Age of the oldest message that is being processed; 0 if there is none."
)
ROWS: Final = Counter("streaming_rows_saved", "Rows saved in BigQuery.")
EXTENSIONS: Final = Counter(
    "streaming_lease_extensions", "Messages whose acknowledgement deadline was extended."
)
_FAULTS: Final = Counter(
    "streaming_faults", "Failed calls, after retries, by what was attempted.", ["attempt"]
)


def report(attempt: str, error: Exception) -> None:
    """Count and log a failure; without a traceback if a server is unreachable."""
    _FAULTS.labels(attempt).inc()
    outage = isinstance(error, exceptions.GoogleAPIError | OSError)
    _log.error("%s failed: %s: %s", attempt, type(error).__name__, error, exc_info=None if outage else error)


async def attempted(attempt: str, work: Awaitable[Any]) -> bool:
    """Await work and report its failure. Returns whether it succeeded."""
    try:
        await work
    except Exception as error:
        report(attempt, error)
        return False
    return True
