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
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, PREDICT_PATH, READINESS_PATH
from services.http.health import Readiness

_REFERENCE = "#/components/schemas/{name}"
_HEADERS = {
    "etag": "Entity tag of this response, for If-None-Match.",
    "model-version": "Version of the model that made the forecast.",
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
    return references[0] if len(references) == 1 else {"oneOf": references}


def _response(description: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _json(description: str, schema: str) -> dict[str, Any]:
    return _response(description, "application/json", _schema(schema))


def _table(description: str, *schemas: str) -> dict[str, Any]:
    """A response in JSON or CSV."""
    return {
        "description": description,
        "headers": {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in _HEADERS.items()
        },
        "content": {
            "application/json": {"schema": _schema(*schemas)},
            "text/csv": {"schema": {"type": "string"}},
        },
    }


def _operation(
    summary: str, responses: dict[str, Any], *, problems: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """An operation. Besides `problems` it refuses malformed requests, as all do."""
    refusals = {
        status: _response(_PROBLEMS[status], "application/problem+json", _schema("Problem"))
        for status in ("400", "408", "431", *problems)
    }
    return {"summary": summary, **more, "responses": refusals | responses}


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


def _table_paths(prediction: dict[str, Any], history: dict[str, Any], max_range: int) -> dict[str, Any]:
    """The paths of forecasts and past sales.

    Args:
        prediction: Schema of a request for forecasts.
        history: Schema of a request for past sales.
        max_range: Limit of the number of days to forecast.
    """
    predicted = _table(
        "One row for each day of each series.", "PredictionResponse", "ColumnarPredictionResponse"
    )
    return {
        PREDICT_PATH: {
            "get": _operation(
                "Forecast the next days of all series, or of selected ones.",
                {"200": predicted, **_UNCHANGED},
                problems=("414", "503"),
                parameters=_query(prediction, max_range),
            ),
            "post": _operation(
                "The same, with the request in a JSON body.",
                {"200": predicted},
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
                {"200": _table("One row for each day of each series.", "HistoryResponse"), **_UNCHANGED},
                problems=("414", "503"),
                parameters=_query(history, history["properties"]["range"]["maximum"]),
            )
        },
    }


_OTHER_PATHS = {
    "/models": _operation(
        "The served model and the previous one, with age and backtest scores.",
        {"200": _json("The models.", "ModelsResponse")},
        problems=("503",),
    ),
    LIVENESS_PATH: _operation(
        "Liveness of the process.", {"200": _response("Alive.", "application/json", {})}
    ),
    READINESS_PATH: _operation(
        "Readiness for requests.",
        {
            "200": _json("A model is loaded.", "Readiness"),
            "503": _json("No model is loaded, or the process is stopping.", "Readiness"),
        },
    ),
    METRICS_PATH: _operation(
        "Prometheus metrics.",
        {"200": _response("Text exposition format.", "text/plain", {"type": "string"})},
    ),
}


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
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sales forecast",
            "version": "1",
            "description": "Forecasts of daily sales with prediction intervals, past sales, and the model "
            "that is served. Responses are compressed for clients that accept gzip.",
        },
        "paths": _table_paths(components["PredictionRequest"], history, max_range)
        | {path: {"get": operation} for path, operation in _OTHER_PATHS.items()},
        "components": {"schemas": components},
    }
