"""Paths and what answers them; problem details; what Kubernetes and Prometheus ask of every service."""

import dataclasses
import http
import logging
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import prometheus_client

from services.contracts.messages import Problem
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from services.http.server import RefusedError, Request, Response

_log = logging.getLogger(__name__)

JSON: Final = ("content-type", "application/json")
NO_STORE: Final = ("cache-control", "no-store")
_PROBLEM_JSON: Final = ("content-type", "application/problem+json")

Handler = Callable[[Request], Response]


class Readiness(msgspec.Struct, frozen=True):
    """The body of the readiness path."""

    ready: bool
    model: str | None  # version served
    fault: str | None  # why not ready, or what is wrong although ready


@dataclasses.dataclass(frozen=True)
class Route:
    """A path.

    Attributes:
        path: As metrics name it.
        methods: What answers each.
        probed: Whether machines ask all the time, so that only failures are worth a line in the log.
    """

    path: str
    methods: dict[bytes, Handler]
    probed: bool = False


class Router:
    """Finds the handler of a request.

    Args:
        routes: All there are.

    Attributes:
        routes: By path.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = {route.path.encode(): route for route in routes}

    def answer(self, request: Request) -> Response:
        """The answer to a request, a problem if there is none."""
        try:
            route = self.routes.get(request.path)
            if route is None:
                paths = [each.path for each in self.routes.values()]
                return problem(http.HTTPStatus.NOT_FOUND, "no such path", allowed=paths)
            handler = route.methods.get(request.method)
            if handler is None:
                allow = b", ".join(route.methods).decode()
                return problem(
                    http.HTTPStatus.METHOD_NOT_ALLOWED, f"allowed here: {allow}", headers=[("allow", allow)]
                )
            if request.http_version == "1.1" and b"host" not in request.headers:
                return problem(http.HTTPStatus.BAD_REQUEST, "HTTP/1.1 requires the header Host")
            return handler(request)
        except Exception as error:
            return failure(request, error)


def get(path: str, handler: Handler, *, post: Handler | None = None, probed: bool = False) -> Route:
    """A path to GET and HEAD, and perhaps to POST to."""
    methods = {b"GET": handler, b"HEAD": handler}
    if post is not None:
        methods[b"POST"] = post
    return Route(path, methods, probed)


def probes(readiness: Callable[[], Readiness]) -> list[Route]:
    """Liveness, readiness and metrics."""
    alive = Response(http.HTTPStatus.OK, [JSON, NO_STORE], b'{"alive":true}')

    def ready(_: Request) -> Response:
        state = readiness()
        status = http.HTTPStatus.OK if state.ready else http.HTTPStatus.SERVICE_UNAVAILABLE
        return Response(status, [JSON, NO_STORE], msgspec.json.encode(state))

    def metrics(_: Request) -> Response:
        headers = [("content-type", prometheus_client.CONTENT_TYPE_LATEST), NO_STORE]
        return Response(http.HTTPStatus.OK, headers, prometheus_client.generate_latest())

    return [
        get(LIVENESS_PATH, lambda _: alive, probed=True),
        get(READINESS_PATH, ready, probed=True),
        get(METRICS_PATH, metrics, probed=True),
    ]


def failure(request: Request, error: Exception) -> Response:
    """The answer to a request whose handler raised an error."""
    if isinstance(error, RefusedError):
        return problem(error.status, error.detail, parameter=error.parameter, allowed=error.allowed)
    _log.error("%r %r failed", request.method, request.target, exc_info=error)
    return problem(http.HTTPStatus.INTERNAL_SERVER_ERROR, "the fault is logged")


def problem(
    status: http.HTTPStatus,
    detail: str,
    *,
    parameter: str | None = None,
    allowed: list[str] | dict[str, int] | None = None,
    headers: list[tuple[str, str]] = [],  # noqa: B006 -- only read
) -> Response:
    """An error as problem details (RFC 9457).

    Args:
        status: Of the answer.
        detail: What is wrong, in a sentence.
        parameter: The parameter at fault, if it is one.
        allowed: The values to choose from, or the limits of a number.
        headers: Of the answer, besides those of every problem.
    """
    body = Problem(
        success=False, title=status.phrase, status=status, detail=detail, parameter=parameter, allowed=allowed
    )
    return Response(status, [_PROBLEM_JSON, NO_STORE, *headers], msgspec.json.encode(body))
