"""The application: what is answered, and what is told of each request."""

import datetime
import http
from collections.abc import Callable
from typing import Final

import msgspec

from services.contracts.messages import (
    HistoryRequest,
    ModelDescription,
    ModelsResponse,
    PredictionRequest,
)
from services.contracts.model import HISTORY_DAYS, Manifest
from services.contracts.names import PREDICT_PATH
from services.contracts.settings import PredictionSettings
from services.forecasting.follower import ModelFollower
from services.http import negotiation, routes
from services.http.routes import JSON, NO_STORE, Readiness, Router, problem
from services.http.server import MAX_BODY_BYTES, Request, Response
from services.prediction import openapi, pages, requests
from services.prediction.access_log import AccessLog
from services.prediction.answers import Answer, Answers, Question
from services.prediction.metrics import Metrics
from services.prediction.spans import SpanExporter

MAX_QUERY_BYTES: Final = 8 * 1024

_UNKNOWN: Final = "unknown"


class Application:
    """Answers requests.

    All of it runs on the event loop; the follower's thread only replaces `follower.current`.

    Args:
        settings: Of the service.
        follower: Has the model.
        spans: Takes the spans of sampled requests, if anybody wants them.

    Attributes:
        draining: Set when the process is about to stop: not ready, and no connection is kept.
        metrics: What is counted.
        access_log: Where each request is told.
    """

    def __init__(
        self,
        settings: PredictionSettings,
        follower: ModelFollower[Answers],
        spans: SpanExporter | None = None,
    ) -> None:
        self.draining = False
        self._follower = follower
        self._spans = spans
        document = openapi.document(settings.max_range)
        self._openapi = msgspec.json.encode(document)
        self._router = Router(
            [
                routes.get("/", pages.load("index.html").answer),
                routes.get("/page.css", pages.load("page.css").answer),
                routes.get("/page.js", pages.load("page.js").answer),
                routes.get("/docs", pages.documentation(document).answer),
                routes.get(PREDICT_PATH, self._predict, post=self._predict_body),
                routes.get("/history", self._history),
                routes.get("/models", self._models),
                routes.get("/openapi.json", self._describe),
                *routes.probes(self._readiness),
            ]
        )
        paths = [route.path for route in self._router.routes.values()]
        self.metrics = Metrics(settings.image, [*paths, _UNKNOWN])
        self.metrics.gauges.append(
            ("prediction_cache_bytes", "Memory of the answers kept.", self._kept_bytes)
        )
        self.access_log = AccessLog()

    def answer(self, request: Request) -> Response:
        """The answer to a request."""
        return self._router.answer(request)

    def refuse(self, status: http.HTTPStatus, detail: str) -> Response:
        """The answer to what is not a request."""
        return problem(status, detail)

    def observe(self, request: Request, response: Response, seconds: float) -> None:
        """Count an answer, and log it unless it is a probe that went well."""
        route = self._router.routes.get(request.path)
        # Clients choose paths and methods at will; label values are ours alone.
        if route is None:
            self.metrics.observe(_UNKNOWN, "other", response.status, seconds)
        else:
            method = request.method.decode() if request.method in route.methods else "other"
            self.metrics.observe(route.path, method, response.status, seconds)
            if route.probed and response.status < 400:
                return
        self.access_log.add(request, response, seconds)
        if self._spans is not None and request.trace.sampled:
            self._spans.add(request, response, route.path if route else _UNKNOWN, seconds)

    def _predict(self, request: Request) -> Response:
        return self._answer_query(request, "prediction", self._make_prediction)

    def _history(self, request: Request) -> Response:
        return self._answer_query(request, "history", self._make_history)

    def _answer_query(
        self, request: Request, subject: str, make: Callable[[Answers, Question], Answer]
    ) -> Response:
        if len(request.query) > MAX_QUERY_BYTES:
            return problem(
                http.HTTPStatus.REQUEST_URI_TOO_LONG,
                f"a query has at most {MAX_QUERY_BYTES} bytes; POST /predict takes {MAX_BODY_BYTES}",
            )
        model = self._follower.current
        if model is None:
            return self._no_model()
        answer = self._look_up(model.prepared, _question(request, subject, request.query), make)
        if_none_match = request.headers.get(b"if-none-match")
        if if_none_match is not None and negotiation.names(if_none_match, answer.etag):
            return answer.unchanged
        return answer.response

    def _predict_body(self, request: Request) -> Response:
        model = self._follower.current
        if model is None:
            return self._no_model()
        question = _question(request, "prediction", request.body, posted=True)
        return self._look_up(model.prepared, question, self._make_prediction).response

    def _look_up(
        self, answers: Answers, question: Question, make: Callable[[Answers, Question], Answer]
    ) -> Answer:
        answer = answers.find(question)
        if answer is not None:
            self.metrics.cache_hits += 1
            return answer
        self.metrics.cache_misses += 1
        return make(answers, question)

    @staticmethod
    def _make_prediction(answers: Answers, question: Question) -> Answer:
        limit = answers.max_range
        if question.posted:
            return answers.predict(question, requests.from_body(question.text, limit))
        return answers.predict(question, requests.from_query(question.text, PredictionRequest, limit))

    @staticmethod
    def _make_history(answers: Answers, question: Question) -> Answer:
        return answers.history(question, requests.from_query(question.text, HistoryRequest, HISTORY_DAYS))

    def _no_model(self) -> Response:
        return problem(
            http.HTTPStatus.SERVICE_UNAVAILABLE,
            f"no model is loaded: {self._follower.error}",
            headers=[("retry-after", "1")],
        )

    def _models(self, _: Request) -> Response:
        model = self._follower.current
        if model is None:
            return self._no_model()
        previous = self._follower.previous
        models = ModelsResponse(
            current=_described(model.manifest),
            previous=_described(previous) if previous else None,
            max_range=model.prepared.max_range,
            fault=self._follower.error,
        )
        return Response(http.HTTPStatus.OK, [JSON, NO_STORE], msgspec.json.encode(models))

    def _readiness(self) -> Readiness:
        model = self._follower.current
        return Readiness(
            ready=model is not None and not self.draining,
            model=model.manifest.version if model else None,
            fault="stopping" if self.draining else self._follower.error,
        )

    def _describe(self, _: Request) -> Response:
        return Response(http.HTTPStatus.OK, [JSON, ("cache-control", "no-cache")], self._openapi)

    def _kept_bytes(self) -> int:
        model = self._follower.current
        return model.prepared.kept_bytes if model else 0


def _question(request: Request, subject: str, text: bytes, *, posted: bool = False) -> Question:
    headers = request.headers
    return Question(
        subject,
        posted,
        text,
        negotiation.prefers_csv(headers.get(b"accept")),
        negotiation.takes_gzip(headers.get(b"accept-encoding")),
    )


def _described(manifest: Manifest) -> ModelDescription:
    age = datetime.datetime.now(datetime.UTC) - manifest.created_at
    return ModelDescription(
        version=manifest.version,
        created_at=manifest.created_at,
        age_seconds=age.total_seconds(),
        first_date=manifest.first_date,
        last_date=manifest.last_date,
        series=manifest.series,
        horizon=manifest.horizon,
        interval=manifest.interval,
        backtest=manifest.backtest,
    )
