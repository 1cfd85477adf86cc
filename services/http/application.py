"""What a service answers: paths and their handlers, those of Kubernetes and Prometheus among them."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

import msgspec
import prometheus_client

from services.contracts.messages import Readiness
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from services.http.messages import HttpError, Request, Response, problem_document

JSON: Final = ("content-type", "application/json")
NO_STORE: Final = ("cache-control", "no-store")

Handler = Callable[[Request], Response]


class Route:
    """A path for GET and HEAD, and for POST if that has a handler.

    Kubernetes or Prometheus ask a `probe` all the time: only failures are logged.
    """

    def __init__(self, path: str, handler: Handler, post: Handler | None = None, probe: bool = False) -> None:
        self.path = path
        self.methods = {b"GET": handler, b"HEAD": handler} | ({b"POST": post} if post else {})
        self.probe = probe


class Application:
    """Calls the handler of a request.

    Args:
        routes: Paths besides those of liveness, readiness and metrics.
        readiness: Whether requests can be answered; those of a service without a model always can.

    Attributes:
        draining: Whether the process is about to stop: connections are closed after the next response.
    """

    def __init__(self, routes: Iterable[Route], readiness: Callable[[], Readiness] | None = None) -> None:
        self.draining = False
        self._readiness = readiness or (lambda: Readiness(ready=True, model=None, fault=None))
        alive = Response(HTTPStatus.OK, [JSON, NO_STORE], b'{"alive":true}')
        probes = (
            Route(LIVENESS_PATH, lambda _: alive, probe=True),
            Route(READINESS_PATH, self._ready, probe=True),
            Route(METRICS_PATH, _metrics, probe=True),
        )
        self.routes = {route.path.encode(): route for route in (*routes, *probes)}

    def answer(self, request: Request) -> Response:
        """The response of the handler, or a problem document."""
        try:
            return self._handler(request)(request)
        except Exception as error:
            return problem_document(request, error)

    def refusal(self, request: Request) -> Response | None:
        """The problem document of a request that has no handler, whose body need not be received."""
        try:
            self._handler(request)
        except HttpError as error:
            return error.response
        return None

    def observe(self, request: Request, response: Response, seconds: float) -> None:
        """Called after each response, with the time since the first byte of its request."""

    def _handler(self, request: Request) -> Handler:
        route = self.routes.get(request.path)
        if route is None:
            paths = [each.path for each in self.routes.values()]
            raise HttpError(HTTPStatus.NOT_FOUND, "no such path", allowed=paths)
        handler = route.methods.get(request.method)
        if handler is None:
            allow = b", ".join(route.methods).decode()
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, f"allowed here: {allow}", header=("allow", allow))
        if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            detail = "the body must not be compressed"
            raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, header=("accept-encoding", "identity"))
        return handler

    def _ready(self, _: Request) -> Response:
        state = self._readiness()
        if self.draining:
            state = Readiness(ready=False, model=state.model, fault="stopping")
        status = HTTPStatus.OK if state.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(status, [JSON, NO_STORE], msgspec.json.encode(state))


def _metrics(_: Request) -> Response:
    headers = [("content-type", prometheus_client.CONTENT_TYPE_LATEST), NO_STORE]
    return Response(HTTPStatus.OK, headers, prometheus_client.generate_latest())
