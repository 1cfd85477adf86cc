"""Errors over HTTP: problem documents (RFC 9457)."""

import http
import logging
from collections.abc import Sequence

import msgspec

from services.contracts.messages import Problem
from services.http.messages import Request, Response

_log = logging.getLogger(__name__)


class HttpError(Exception):
    """A request is answered with a problem document; `allowed` has values, or the limits of a number."""

    def __init__(
        self,
        status: http.HTTPStatus,
        detail: str,
        parameter: str | None = None,
        allowed: list[str] | dict[str, int] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.parameter = parameter
        self.allowed = allowed
        self.headers = headers

    def response(self) -> Response:
        """The problem document."""
        problem = Problem(
            success=False,
            title=self.status.phrase,
            status=self.status,
            detail=self.detail,
            parameter=self.parameter,
            allowed=self.allowed,
        )
        headers = [("content-type", "application/problem+json"), ("cache-control", "no-store"), *self.headers]
        return Response(self.status, headers, msgspec.json.encode(problem))


def from_exception(request: Request, error: Exception) -> Response:
    """The problem document of an error that a handler raised."""
    if isinstance(error, HttpError):
        return error.response()
    _log.error("%r %r failed", request.method, request.target, exc_info=error)
    return HttpError(http.HTTPStatus.INTERNAL_SERVER_ERROR, "the error is logged").response()
