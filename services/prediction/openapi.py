"""The OpenAPI document, generated from the types of requests and responses."""

from typing import Any

import msgspec

from services.contracts.messages import (
    HistoryColumns,
    HistoryRequest,
    HistoryResponse,
    HistorySumRow,
    ModelsResponse,
    PredictionColumns,
    PredictionRequest,
    PredictionResponse,
    Problem,
    Readiness,
    SumRow,
)
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, MODELS_PATH, PREDICT_PATH, READINESS_PATH

_TYPES = (
    *(PredictionRequest, PredictionResponse, PredictionColumns, SumRow),
    *(HistoryRequest, HistoryResponse, HistoryColumns, HistorySumRow),
    *(ModelsResponse, Readiness, Problem),
)
_REFERENCE = "#/components/schemas/{name}"
_TEXT = {"type": "string"}
_HEADERS = {
    "etag": {"description": "Entity tag of this response, for If-None-Match.", "schema": _TEXT},
    "model-version": {"description": "Version of the model that made the forecast.", "schema": _TEXT},
}
_PROBLEMS = {
    "400": "The request is invalid; `detail` and `allowed` say what is allowed.",
    "408": "The request did not arrive in time.",
    "413": "The body is too large.",
    "414": "The query is too long.",
    "415": "The body is compressed.",
    "431": "The headers are too large.",
    "503": "No model is loaded yet, or there are too many connections or long responses.",
}


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def _response(description: str, **schemas: dict[str, Any]) -> dict[str, Any]:
    """A response; the name of an argument is a media type with `_` for its slash."""
    content = {name.replace("_", "/"): {"schema": schema} for name, schema in schemas.items()}
    return {"description": description, "content": content}


def _operation(summary: str, response: dict[str, Any], *problems: str, **more: Any) -> dict[str, Any]:
    """An operation. Besides `problems` it refuses malformed requests, as all do."""
    content = {"application/problem+json": {"schema": _schema(Problem)}}
    refusals = {
        status: {"description": _PROBLEMS[status], "content": content}
        for status in ("400", "408", "431", *problems)
    }
    return {"summary": summary, **more, "responses": refusals | {"200": response}}


def _get_table(summary: str, table: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """An operation whose query has the properties of a request's schema."""
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
    operation = _operation(summary, table, "414", "503", parameters=parameters)
    operation["responses"]["304"] = {"description": "The response named in If-None-Match is still valid."}
    return operation


def document(max_range: int) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service."""
    _, components = msgspec.json.schema_components(_TYPES, ref_template=_REFERENCE)
    prediction, history = components["PredictionRequest"], components.pop("HistoryRequest")
    prediction["properties"]["range"]["maximum"] = max_range

    def table(
        name: str,
        response: type[msgspec.Struct],
        columns: type[msgspec.Struct],
        sums: type[msgspec.Struct],
    ) -> dict[str, Any]:
        """A response with rows under a name, in every layout, in JSON or CSV."""
        properties = components[response.__name__]["properties"]
        layouts = [properties[name], _schema(columns), {"type": "array", "items": _schema(sums)}]
        properties[name] = {"anyOf": layouts}
        text = "One row for each day of each series, or of their sum."
        content = _response(text, application_json=_schema(response), text_csv=_TEXT)
        return content | {"headers": _HEADERS}

    forecast = table("prediction", PredictionResponse, PredictionColumns, SumRow)
    readiness = _operation(
        "Readiness for requests.", _response("A model is loaded.", application_json=_schema(Readiness))
    )
    readiness["responses"]["503"] = _response(
        "No model is loaded, or the process is stopping.", application_json=_schema(Readiness)
    )
    paths = {
        PREDICT_PATH: {
            "get": _get_table(
                "Forecast the next days of all series, or of selected ones.", forecast, prediction
            ),
            "post": _operation(
                "The same, with the request in a JSON body.",
                forecast,
                *("413", "415", "503"),
                requestBody={
                    "required": True,
                    "content": {"application/json": {"schema": _schema(PredictionRequest)}},
                },
            ),
        },
        "/history": {
            "get": _get_table(
                "Sales of the last days before the forecast.",
                table("history", HistoryResponse, HistoryColumns, HistorySumRow),
                history,
            )
        },
        MODELS_PATH: {
            "get": _operation(
                "The served model and the previous one, with age and backtest scores.",
                _response("The models.", application_json=_schema(ModelsResponse)),
                "503",
            )
        },
        LIVENESS_PATH: {
            "get": _operation("Liveness of the process.", _response("Alive.", application_json={}))
        },
        READINESS_PATH: {"get": readiness},
        METRICS_PATH: {
            "get": _operation("Prometheus metrics.", _response("Text exposition format.", text_plain=_TEXT))
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
