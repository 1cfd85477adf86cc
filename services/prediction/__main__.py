"""`python -m services.prediction`: serve forecasts over HTTP until SIGTERM."""

import sys

import uvloop
from prometheus_client import REGISTRY, Gauge

from services import runtime
from services.contracts.settings import PredictionSettings
from services.forecasting.follower import ModelFollower
from services.forecasting.model_registry import ModelRegistry
from services.http.server import Server
from services.prediction.application import Application
from services.prediction.responses import ModelResponses


async def serve(settings: PredictionSettings) -> int:
    """Serve until SIGTERM or SIGINT, then drain; returns the exit code."""
    # A response is valid until the model changes. A cache may notice that as late as the service.
    cache_control = f"public, max-age={int(settings.model_poll_seconds)}"
    follower = ModelFollower(
        ModelRegistry(settings.model_bucket),
        lambda model: ModelResponses(model, settings.max_range, cache_control),
        settings.model_poll_seconds,
    )
    application = Application(settings, follower)
    server = Server(application)
    REGISTRY.register(application.metrics)
    Gauge(
        "prediction_requests_in_flight", "Requests that are being received, answered or sent."
    ).set_function(lambda: server.requests_in_flight)
    Gauge("prediction_connections", "Open connections.").set_function(lambda: len(server.connections))
    Gauge("prediction_cache_bytes", "Memory of cached responses.").set_function(
        lambda: follower.current.prepared.cache.bytes if follower.current else 0
    )
    stop = await runtime.listen(server, settings)
    follower.start()
    await stop.wait()
    follower.stop()
    return int(not await runtime.drain(server, settings.drain_seconds))


if __name__ == "__main__":
    sys.exit(uvloop.run(serve(runtime.start(PredictionSettings))))
