"""The HTTP application: routes, errors, metrics and access log."""

import asyncio
import datetime
import http
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import prometheus_client
from granian.rsgi import HTTPProtocol, Scope  # pyright: ignore[reportPrivateImportUsage]

from services.contracts.messages import Problem
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from services.contracts.settings import PredictionSettings
from services.forecasting.follower import ModelFollower
from services.prediction import openapi, requests
from services.prediction.answers import Answer, Answers
from services.prediction.requests import InvalidRequestError
from services.runtime import Readiness

_log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024
MAX_QUERY_CHARACTERS: Final = 8 * 1024
_BODY_SECONDS: Final = 10
_ACCESS_LOG_SECONDS: Final = 0.1

_JSON: Final = ("content-type", "application/json")
_PROBLEM_JSON: Final = ("content-type", "application/problem+json")
_NO_STORE: Final = ("cache-control", "no-store")

_REQUESTS = prometheus_client.Counter("http_requests", "Requests answered.", ["route", "method", "status"])
_DURATION = prometheus_client.Histogram(
    "http_request_duration_seconds",
    "Time from the headers of a request to its answer.",
    ["route"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
_IN_FLIGHT = prometheus_client.Gauge("http_requests_in_flight", "Requests being answered.")


class Response(msgspec.Struct, frozen=True):
    """What is sent: status, headers (names in lower case) and body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Application:
    """Answers HTTP requests, as Granian's RSGI interface hands them over.

    All of it runs on the event loop; the follower's thread only replaces `follower.current`.

    Attributes:
        draining: Set when the process is about to stop: not ready, and no connection is kept alive.
    """

    def __init__(self, settings: PredictionSettings, follower: ModelFollower[Answers]) -> None:
        self.draining = False
        self._follower = follower
        # An answer holds until the model changes. A cache may be as late to notice as the service is.
        self._cache_control = f"public, max-age={int(settings.model_poll_seconds)}"
        self._openapi = msgspec.json.encode(openapi.document())
        self._in_flight = 0
        _IN_FLIGHT.set_function(lambda: self._in_flight)
        self._counters: dict[tuple[str, str, int], prometheus_client.Counter] = {}
        self._access_log: list[bytes] = []
        self._routes: dict[str, dict[str, Callable[[Scope, HTTPProtocol], Awaitable[Response]]]] = {
            "/predict": {"GET": self._predict, "HEAD": self._predict, "POST": self._predict_body},
            LIVENESS_PATH: {"GET": self._live, "HEAD": self._live},
            READINESS_PATH: {"GET": self._ready, "HEAD": self._ready},
            METRICS_PATH: {"GET": self._metrics, "HEAD": self._metrics},
            "/openapi.json": {"GET": self._describe, "HEAD": self._describe},
        }
        self._durations = {route: _DURATION.labels(route) for route in [*self._routes, "unknown"]}

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request."""
        started = time.perf_counter()
        self._in_flight += 1
        try:
            response = await self._answer(scope, protocol)
        except Exception:
            _log.exception("%s %s failed", scope.method, scope.path)
            response = _problem(http.HTTPStatus.INTERNAL_SERVER_ERROR, "the fault is logged")
        headers, body = response.headers, response.body
        if self.draining:
            headers = [*headers, ("connection", "close")]
        if scope.method == "HEAD":
            headers, body = [*headers, ("content-length", str(len(body)))], b""
        protocol.response_bytes(response.status, headers, body)
        self._in_flight -= 1
        self._observe(scope, response.status, len(body), time.perf_counter() - started)

    async def _answer(self, scope: Scope, protocol: HTTPProtocol) -> Response:
        methods = self._routes.get(scope.path)
        if methods is None:
            return _problem(http.HTTPStatus.NOT_FOUND, "no such path", allowed=list(self._routes))
        handler = methods.get(scope.method)
        if handler is None:
            allow = ", ".join(methods)
            return _problem(
                http.HTTPStatus.METHOD_NOT_ALLOWED, f"allowed here: {allow}", headers=[("allow", allow)]
            )
        try:
            return await handler(scope, protocol)
        except InvalidRequestError as fault:
            return _problem(
                http.HTTPStatus.BAD_REQUEST, fault.detail, parameter=fault.parameter, allowed=fault.allowed
            )

    async def _predict(self, scope: Scope, _: HTTPProtocol) -> Response:
        query = scope.query_string
        if len(query) > MAX_QUERY_CHARACTERS:
            return _problem(
                http.HTTPStatus.REQUEST_URI_TOO_LONG,
                f"the query is longer than {MAX_QUERY_CHARACTERS} characters; POST takes more",
            )
        model = self._follower.current
        if model is None:
            return self._no_model()
        answers = model.prepared
        answer = answers.find(query)
        if answer is None:
            answer = answers.make(query, requests.from_query(query, answers.max_range))
        headers = [("etag", answer.etag), ("cache-control", self._cache_control)]
        if _matches(scope.headers.get("if-none-match"), answer):
            return Response(http.HTTPStatus.NOT_MODIFIED, headers, b"")
        return Response(http.HTTPStatus.OK, [_JSON, *headers], answer.body)

    async def _predict_body(self, scope: Scope, protocol: HTTPProtocol) -> Response:
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await _read(scope, protocol)
        except TimeoutError:
            return _problem(
                http.HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {_BODY_SECONDS} s"
            )
        if body is None:
            return _problem(
                http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MAX_BODY_BYTES} bytes"
            )
        model = self._follower.current
        if model is None:
            return self._no_model()
        answers = model.prepared
        answer = answers.find(body)
        if answer is None:
            answer = answers.make(body, requests.from_body(body, answers.max_range))
        return Response(http.HTTPStatus.OK, [_JSON, _NO_STORE], answer.body)

    def _no_model(self) -> Response:
        return _problem(
            http.HTTPStatus.SERVICE_UNAVAILABLE,
            f"no model is loaded: {self._follower.error}",
            headers=[("retry-after", "1")],
        )

    async def _live(self, _: Scope, __: HTTPProtocol) -> Response:
        return Response(http.HTTPStatus.OK, [_JSON, _NO_STORE], b'{"alive":true}')

    async def _ready(self, _: Scope, __: HTTPProtocol) -> Response:
        model = self._follower.current
        readiness = Readiness(
            ready=model is not None and not self.draining,
            model=model.manifest.version if model else None,
            fault="stopping" if self.draining else self._follower.error,
        )
        return Response(readiness.status, [_JSON, _NO_STORE], msgspec.json.encode(readiness))

    async def _metrics(self, _: Scope, __: HTTPProtocol) -> Response:
        headers = [("content-type", prometheus_client.CONTENT_TYPE_LATEST), _NO_STORE]
        return Response(http.HTTPStatus.OK, headers, prometheus_client.generate_latest())

    async def _describe(self, _: Scope, __: HTTPProtocol) -> Response:
        return Response(http.HTTPStatus.OK, [_JSON, ("cache-control", "no-cache")], self._openapi)

    def _observe(self, scope: Scope, status: int, size: int, seconds: float) -> None:
        """Count a request, and log it unless it is a probe that went well."""
        methods = self._routes.get(scope.path)
        route = scope.path if methods else "unknown"
        # Clients choose paths and methods at will; label values are ours alone.
        key = (route, scope.method if methods and scope.method in methods else "other", status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = _REQUESTS.labels(*key)
        counter.inc()
        self._durations[route].observe(seconds)
        if status < 400 and route in (LIVENESS_PATH, READINESS_PATH, METRICS_PATH):
            return
        target = f"{scope.path}?{scope.query_string}" if scope.query_string else scope.path
        if not self._access_log:
            asyncio.get_running_loop().call_later(_ACCESS_LOG_SECONDS, self.flush_access_log)
        self._access_log.append(
            msgspec.json.encode(
                {
                    "time": datetime.datetime.now(datetime.UTC),
                    "severity": "ERROR" if status == http.HTTPStatus.INTERNAL_SERVER_ERROR else "INFO",
                    "message": f"{scope.method} {target} {status}",
                    # https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#HttpRequest
                    "httpRequest": {
                        "requestMethod": scope.method,
                        "requestUrl": target,
                        "status": status,
                        "responseSize": str(size),
                        "latency": f"{seconds:.6f}s",
                        "remoteIp": scope.client.rpartition(":")[0],
                        "protocol": f"HTTP/{scope.http_version}",
                    },
                }
            )
        )

    def flush_access_log(self) -> None:
        """Write the access log's lines that are waiting, in one go."""
        lines, self._access_log = self._access_log, []
        sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
        sys.stdout.buffer.flush()


async def _read(scope: Scope, protocol: HTTPProtocol) -> bytes | None:
    """The body of a request, None if it is longer than `MAX_BODY_BYTES`."""
    # What is announced as too long is not waited for.
    if int(scope.headers.get("content-length", "0")) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    async for chunk in protocol:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _matches(if_none_match: str | None, answer: Answer) -> bool:
    """Whether an If-None-Match header (RFC 9110, 13.1.2) names the answer."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return answer.etag in tags or tags == ["*"]


def _problem(
    status: http.HTTPStatus,
    detail: str,
    *,
    parameter: str | None = None,
    allowed: list[str] | dict[str, int] | None = None,
    headers: list[tuple[str, str]] = [],  # noqa: B006 -- only read
) -> Response:
    problem = Problem(
        success=False,
        title=status.phrase,
        status=status,
        detail=detail,
        parameter=parameter,
        allowed=allowed,
    )
    return Response(status, [_PROBLEM_JSON, _NO_STORE, *headers], msgspec.json.encode(problem))
