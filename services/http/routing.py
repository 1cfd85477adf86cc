"""Paths and their handlers."""

import http
from collections.abc import Callable, Iterable
from typing import Final

from services.http.messages import Request, Response
from services.http.problems import HttpError, from_exception

JSON: Final = ("content-type", "application/json")
NO_STORE: Final = ("cache-control", "no-store")

Handler = Callable[[Request], Response]


class Route:
    """A path for GET and HEAD, and for POST if that has a handler.

    Kubernetes or Prometheus ask a `probe` all the time: only failures are logged.
    """

    def __init__(
        self, path: str, handler: Handler, *, post: Handler | None = None, probe: bool = False
    ) -> None:
        self.path = path
        self.methods = {b"GET": handler, b"HEAD": handler} | ({b"POST": post} if post else {})
        self.probe = probe


class Router:
    """Calls the handler of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = {route.path.encode(): route for route in routes}

    def answer(self, request: Request) -> Response:
        """The response of the handler, or a problem document."""
        try:
            return self._handler(request)(request)
        except Exception as error:
            return from_exception(request, error)

    def refusal(self, request: Request) -> Response | None:
        """The problem document of a request that has no handler; None if it has one."""
        try:
            self._handler(request)
        except HttpError as error:
            return error.response()
        return None

    def _handler(self, request: Request) -> Handler:
        route = self.routes.get(request.path)
        if route is None:
            paths = [each.path for each in self.routes.values()]
            raise HttpError(http.HTTPStatus.NOT_FOUND, "no such path", allowed=paths)
        handler = route.methods.get(request.method)
        if handler is None:
            allow = b", ".join(route.methods).decode()
            raise HttpError(
                http.HTTPStatus.METHOD_NOT_ALLOWED, f"allowed here: {allow}", headers=[("allow", allow)]
            )
        if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise HttpError(
                http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "the body must not be compressed",
                headers=[("accept-encoding", "identity")],
            )
        return handler
