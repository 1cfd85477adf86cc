"""The OpenAPI document, generated from the types of requests and responses."""

from typing import Any

import msgspec

from services.contracts.messages import (
    ColumnarPredictionResponse,
    HistoryRequest,
    HistoryResponse,
    ModelsResponse,
    PredictionRequest,
    PredictionResponse,
    Problem,
    SummedHistoryResponse,
    SummedPredictionResponse,
)
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, MODELS_PATH, PREDICT_PATH, READINESS_PATH
from services.http.health import Readiness

_REFERENCE = "#/components/schemas/{name}"
_TEXT = {"type": "string"}
_HEADERS = {
    "etag": {"description": "Entity tag of this response, for If-None-Match.", "schema": _TEXT},
    "model-version": {"description": "Version of the model that made the forecast.", "schema": _TEXT},
}
_UNCHANGED = {"304": {"description": "The response named in If-None-Match is still valid."}}
_PROBLEMS = {
    "400": "The request is invalid; `detail` and `allowed` say what is allowed.",
    "408": "The request did not arrive in time.",
    "413": "The body is too large.",
    "414": "The query is too long.",
    "415": "The body is compressed.",
    "431": "The headers are too large.",
    "503": "No model is loaded yet, or there are too many connections or long responses.",
}


def _schema(*names: str) -> dict[str, Any]:
    references = [{"$ref": _REFERENCE.format(name=name)} for name in names]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _response(description: str, **schemas: dict[str, Any]) -> dict[str, Any]:
    """A response; the name of an argument is a media type with `_` for its slash."""
    content = {name.replace("_", "/"): {"schema": schema} for name, schema in schemas.items()}
    return {"description": description, "content": content}


def _table(*names: str) -> dict[str, Any]:
    """Rows in JSON or CSV."""
    tables = _response(
        "One row for each day of each series, or of their sum.",
        application_json=_schema(*names),
        text_csv=_TEXT,
    )
    return tables | {"headers": _HEADERS}


def _operation(
    summary: str, responses: dict[str, Any], *, problems: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """An operation. Besides `problems` it refuses malformed requests, as all do."""
    problem = {"application/problem+json": {"schema": _schema("Problem")}}
    refusals = {
        status: {"description": _PROBLEMS[status], "content": problem}
        for status in ("400", "408", "431", *problems)
    }
    return {"summary": summary, **more, "responses": refusals | responses}


def _query(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The query parameters of a request's schema."""
    parameters: list[dict[str, Any]] = []
    for name, schema in request["properties"].items():
        # A parameter is absent rather than null.
        schema = {key: value for key, value in schema.items() if (key, value) != ("default", None)}
        choices = [each for each in schema.pop("anyOf", []) if each != {"type": "null"}]
        schema |= choices[0] if len(choices) == 1 else {"anyOf": choices} if choices else {}
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in request.get("required", ()),
                "description": schema.pop("description", ""),
                "schema": schema,
            }
        )
    return parameters


def document(max_range: int) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service."""
    _, components = msgspec.json.schema_components(
        [
            PredictionRequest,
            PredictionResponse,
            ColumnarPredictionResponse,
            SummedPredictionResponse,
            HistoryRequest,
            HistoryResponse,
            SummedHistoryResponse,
            ModelsResponse,
            Readiness,
            Problem,
        ],
        ref_template=_REFERENCE,
    )
    prediction, history = components["PredictionRequest"], components.pop("HistoryRequest")
    prediction["properties"]["range"]["maximum"] = max_range
    forecast = _table("PredictionResponse", "ColumnarPredictionResponse", "SummedPredictionResponse")
    ready = {
        "200": _response("A model is loaded.", application_json=_schema("Readiness")),
        "503": _response(
            "No model is loaded, or the process is stopping.", application_json=_schema("Readiness")
        ),
    }
    paths = {
        PREDICT_PATH: {
            "get": _operation(
                "Forecast the next days of all series, or of selected ones.",
                {"200": forecast, **_UNCHANGED},
                problems=("414", "503"),
                parameters=_query(prediction),
            ),
            "post": _operation(
                "The same, with the request in a JSON body.",
                {"200": forecast},
                problems=("413", "415", "503"),
                requestBody={
                    "required": True,
                    "content": {"application/json": {"schema": _schema("PredictionRequest")}},
                },
            ),
        },
        "/history": {
            "get": _operation(
                "Sales of the last days before the forecast.",
                {"200": _table("HistoryResponse", "SummedHistoryResponse"), **_UNCHANGED},
                problems=("414", "503"),
                parameters=_query(history),
            )
        },
        MODELS_PATH: {
            "get": _operation(
                "The served model and the previous one, with age and backtest scores.",
                {"200": _response("The models.", application_json=_schema("ModelsResponse"))},
                problems=("503",),
            )
        },
        LIVENESS_PATH: {
            "get": _operation("Liveness of the process.", {"200": _response("Alive.", application_json={})})
        },
        READINESS_PATH: {"get": _operation("Readiness for requests.", ready)},
        METRICS_PATH: {
            "get": _operation(
                "Prometheus metrics.", {"200": _response("Text exposition format.", text_plain=_TEXT)}
            )
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sales forecast",
            "version": "1",
            "description": "Forecasts of daily sales with prediction intervals, past sales, and the model "
            "that is served. Responses are compressed for clients that accept gzip.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }
