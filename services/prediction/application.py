"""The routes of the service."""

import datetime
import functools
import platform
from http import HTTPStatus
from typing import Final

import msgspec
from prometheus_client import Info

from services.contracts.messages import ModelDescription, ModelsResponse
from services.contracts.model import Manifest
from services.contracts.names import MODELS_PATH, PREDICT_PATH
from services.contracts.settings import PredictionSettings
from services.forecasting.follower import ModelFollower, ServedModel
from services.http import application, negotiation
from services.http.application import JSON, NO_STORE, Route
from services.http.messages import HttpError, Request, Response, unavailable
from services.http.negotiation import ConditionalResponse
from services.http.parser import MAX_BODY_BYTES
from services.prediction import openapi, pages
from services.prediction.responses import Content, ModelResponses, Query
from services.prediction.telemetry import AccessLog, Metrics

MAX_QUERY_BYTES: Final = 8 * 1024

_UNKNOWN: Final = "unknown"
_DESCRIBED: Final = {*ModelDescription.__struct_fields__} - {"age_seconds"}


class Application(application.Application):
    """Answers requests on the event loop; the follower's thread only replaces `follower.current`."""

    def __init__(self, settings: PredictionSettings, follower: ModelFollower[ModelResponses]) -> None:
        self._follower = follower
        document = msgspec.json.encode(openapi.document(settings.max_range))
        super().__init__(
            [
                *pages.routes(),
                Route("/page.json", lambda request: self._served().prepared.page(request)),
                Route(PREDICT_PATH, functools.partial(self._query, "prediction"), post=self._predict_posted),
                Route("/history", functools.partial(self._query, "history")),
                Route(MODELS_PATH, self._models),
                Route("/openapi.json", pages.page(document, ".json")),
            ],
            follower.readiness,
        )
        self.metrics = Metrics([*(route.path for route in self.routes.values()), _UNKNOWN])
        build = Info("prediction_build", "Image and Python version of the service.")
        build.info({"image": settings.image, "python": platform.python_version()})
        self._access_log = AccessLog(settings.trace_project)

    def observe(self, request: Request, response: Response, seconds: float) -> None:
        """Count a response, and log it unless it is a successful probe."""
        route = self.routes.get(request.path)
        # Clients choose paths and methods freely; label values must be few.
        if route is None:
            self.metrics.observe(_UNKNOWN, "other", response.status, seconds)
        else:
            method = request.method.decode() if request.method in route.methods else "other"
            self.metrics.observe(route.path, method, response.status, seconds)
            if route.probe and response.status < 400:
                return
        self._access_log.add(request, response, seconds)

    def _query(self, content: Content, request: Request) -> Response:
        if len(request.query) > MAX_QUERY_BYTES:
            detail = f"a query may have {MAX_QUERY_BYTES} bytes; the body of POST /predict {MAX_BODY_BYTES}"
            raise HttpError(HTTPStatus.REQUEST_URI_TOO_LONG, detail)
        return self._look_up(request, content, request.query, posted=False).answer(request)

    def _predict_posted(self, request: Request) -> Response:
        if request.query:
            raise HttpError(HTTPStatus.BAD_REQUEST, "parameters of a POST are in its body, not a query")
        return self._look_up(request, "prediction", request.body, posted=True).response

    def _look_up(self, request: Request, content: Content, text: bytes, posted: bool) -> ConditionalResponse:
        responses = self._served().prepared
        csv, gzip = negotiation.prefers_csv(request), negotiation.accepts_gzip(request)
        query = Query(content, posted, text, csv, gzip)
        cached = responses.cache.get(query)
        if cached is not None:
            self.metrics.cache_hits += 1
            return cached
        self.metrics.cache_misses += 1
        return responses.build(query)

    def _served(self) -> ServedModel[ModelResponses]:
        model = self._follower.current
        if model is None:
            raise unavailable(f"no model is loaded: {self._follower.error}")
        return model

    def _models(self, _: Request) -> Response:
        model = self._served()
        previous = self._follower.previous
        models = ModelsResponse(
            current=_described(model.manifest),
            previous=_described(previous) if previous else None,
            max_range=model.prepared.max_range,
            fault=self._follower.error,
        )
        return Response(HTTPStatus.OK, [JSON, NO_STORE], msgspec.json.encode(models))


def _described(manifest: Manifest) -> ModelDescription:
    age = datetime.datetime.now(datetime.UTC) - manifest.created_at
    known = {name: getattr(manifest, name) for name in _DESCRIBED}
    return ModelDescription(age_seconds=age.total_seconds(), **known)
