"""Liveness, readiness and metrics of a service."""

import http
from collections.abc import Callable

import msgspec
import prometheus_client

from services.contracts.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from services.http.messages import Request, Response
from services.http.routing import JSON, NO_STORE, Route


class Readiness(msgspec.Struct, frozen=True):
    """The body of the readiness path."""

    ready: bool
    model: str | None  # version served
    fault: str | None  # why not ready, or what is wrong although ready


def routes(readiness: Callable[[], Readiness]) -> list[Route]:
    """The paths that Kubernetes and Prometheus ask."""
    alive = Response(http.HTTPStatus.OK, [JSON, NO_STORE], b'{"alive":true}')

    def ready(_: Request) -> Response:
        state = readiness()
        status = http.HTTPStatus.OK if state.ready else http.HTTPStatus.SERVICE_UNAVAILABLE
        return Response(status, [JSON, NO_STORE], msgspec.json.encode(state))

    def metrics(_: Request) -> Response:
        headers = [("content-type", prometheus_client.CONTENT_TYPE_LATEST), NO_STORE]
        return Response(http.HTTPStatus.OK, headers, prometheus_client.generate_latest())

    return [
        Route(LIVENESS_PATH, lambda _: alive, probe=True),
        Route(READINESS_PATH, ready, probe=True),
        Route(METRICS_PATH, metrics, probe=True),
    ]
