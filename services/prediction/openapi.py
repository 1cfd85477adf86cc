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
)
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from services.http.health import Readiness

_REFERENCE = "#/components/schemas/{name}"
_PREDICTION_SCHEMAS = ("PredictionResponse", "ColumnarPredictionResponse")
_HEADERS = {
    "etag": "Entity tag of this response, for If-None-Match.",
    "model-version": "Version of the model that made the forecast.",
}
_INVALID = {
    "400": "The request is invalid; `detail` and `allowed` say what is allowed.",
    "408": "The request did not arrive in time.",
    "431": "The headers are too large.",
}
_NO_MODEL = {"503": "No model is loaded yet, or there are too many connections."}


def _schema(*names: str) -> dict[str, Any]:
    references = [{"$ref": _REFERENCE.format(name=name)} for name in names]
    return references[0] if len(references) == 1 else {"oneOf": references}


def _problems(texts: dict[str, str]) -> dict[str, Any]:
    return {
        status: {"description": text, "content": {"application/problem+json": {"schema": _schema("Problem")}}}
        for status, text in texts.items()
    }


def _table(text: str, *schemas: str) -> dict[str, Any]:
    """A response in JSON or CSV."""
    return {
        "description": text,
        "headers": {
            name: {"description": description, "schema": {"type": "string"}}
            for name, description in _HEADERS.items()
        },
        "content": {
            "application/json": {"schema": _schema(*schemas)},
            "text/csv": {"schema": {"type": "string"}},
        },
    }


def _query(request: dict[str, Any], max_range: int) -> list[dict[str, Any]]:
    """The query parameters of a request's schema."""
    parameters: list[dict[str, Any]] = []
    for name, field in request["properties"].items():
        schema = {key: value for key, value in field.items() if key != "description"}
        # A parameter is absent rather than null.
        if schema.get("default", ...) is None:
            del schema["default"]
        choices = [each for each in schema.pop("anyOf", []) if each != {"type": "null"}]
        if len(choices) == 1:
            schema |= choices[0]
        elif choices:
            schema["anyOf"] = choices
        if name == "range":
            schema["maximum"] = max_range
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in request.get("required", ()),
                "description": schema.pop("description", field.get("description", "")),
                "schema": schema,
            }
        )
    return parameters


def _get(summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": responses | _problems(_INVALID)}}


def _json(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _schema(schema)}}}


def document(max_range: int) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service.

    Args:
        max_range: Limit of the number of days; the horizon of the model served may be shorter.
    """
    _, components = msgspec.json.schema_components(
        [
            PredictionRequest,
            PredictionResponse,
            ColumnarPredictionResponse,
            HistoryRequest,
            HistoryResponse,
            ModelsResponse,
            Readiness,
            Problem,
        ],
        ref_template=_REFERENCE,
    )
    components["PredictionRequest"]["properties"]["range"]["maximum"] = max_range
    history = components.pop("HistoryRequest")
    predicted = _table("One row for each day of each series.", *_PREDICTION_SCHEMAS)
    unchanged = {"304": {"description": "The response named in If-None-Match is still valid."}}
    too_long = {"414": "The query is too long."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sales forecast",
            "version": "1",
            "description": "Forecasts of daily sales with prediction intervals, past sales, and the model "
            "that is served. Responses are compressed for clients that accept gzip.",
        },
        "paths": {
            "/predict": {
                "get": {
                    "summary": "Forecast the next days of all series, or of selected ones.",
                    "parameters": _query(components["PredictionRequest"], max_range),
                    "responses": {
                        "200": predicted,
                        **unchanged,
                        **_problems(_INVALID | too_long | _NO_MODEL),
                    },
                },
                "post": {
                    "summary": "The same, with the request in a JSON body.",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": _schema("PredictionRequest")}},
                    },
                    "responses": {
                        "200": predicted,
                        **_problems(_INVALID | {"413": "The body is too large."} | _NO_MODEL),
                    },
                },
            },
            "/history": {
                "get": {
                    "summary": "Sales of the last days before the forecast.",
                    "parameters": _query(history, history["properties"]["range"]["maximum"]),
                    "responses": {
                        "200": _table("One row for each day of each series.", "HistoryResponse"),
                        **unchanged,
                        **_problems(_INVALID | too_long | _NO_MODEL),
                    },
                }
            },
            "/models": _get(
                "The served model and the previous one, with age and backtest scores.",
                {"200": _json("The models.", "ModelsResponse"), **_problems(_NO_MODEL)},
            ),
            LIVENESS_PATH: _get(
                "Liveness of the process.",
                {
                    "200": {
                        "description": "Alive.",
                        "content": {"application/json": {"schema": {}}},
                    }
                },
            ),
            READINESS_PATH: _get(
                "Readiness for requests.",
                {
                    "200": _json("A model is loaded.", "Readiness"),
                    "503": _json("No model is loaded, or the process is stopping.", "Readiness"),
                },
            ),
            METRICS_PATH: _get(
                "Prometheus metrics.",
                {
                    "200": {
                        "description": "Text exposition format.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            ),
        },
        "components": {"schemas": components},
    }
