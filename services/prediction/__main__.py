"""`python -m services.prediction`: serve forecasts over HTTP until SIGTERM."""

import asyncio
import logging
import os
import sys

import prometheus_client

from services import runtime
from services.contracts.settings import PredictionSettings
from services.forecasting.follower import ModelFollower
from services.forecasting.model_registry import ModelRegistry
from services.http.server import Server
from services.prediction.answers import Answers
from services.prediction.application import Application
from services.prediction.spans import SpanExporter

_log = logging.getLogger("services.prediction")

# For requests still under way when the listener has closed.
_FINISH_SECONDS = 15


async def serve(settings: PredictionSettings) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return the exit code.

    First readiness turns 503 while requests are still answered, so that load balancers look elsewhere;
    after `drain_seconds` the listener closes and requests under way are finished.
    """
    # An answer holds until the model changes. A cache may be as late to notice as the service is.
    cache_control = f"public, max-age={int(settings.model_poll_seconds)}"
    follower = ModelFollower(
        ModelRegistry(settings.model_bucket),
        lambda model: Answers(model, settings.max_range, cache_control),
        settings.model_poll_seconds,
    )
    collector = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    spans = SpanExporter(collector, os.environ.get("OTEL_SERVICE_NAME", "prediction")) if collector else None
    application = Application(settings, follower, spans)
    server = Server(application)
    application.metrics.gauges += [
        (
            "prediction_requests_in_flight",
            "Requests being received, or whose answer the client has not taken.",
            lambda: server.requests_under_way,
        ),
        ("prediction_connections", "Open connections.", lambda: len(server.connections)),
    ]
    prometheus_client.REGISTRY.register(application.metrics)
    stop = await runtime.listen(server, settings.host, settings.port)
    follower.start()
    await stop.wait()

    _log.info("draining for %s s", settings.drain_seconds)
    application.draining = True
    await asyncio.sleep(settings.drain_seconds)
    follower.stop()
    finished = await server.close(_FINISH_SECONDS)
    application.access_log.flush()
    if spans is not None:
        spans.stop()
    if not finished:
        _log.error("requests still under way after %s s are cut off", _FINISH_SECONDS)
        return 1
    _log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(serve(runtime.start(PredictionSettings))))
