"""The OpenAPI document, generated from the types of requests and responses."""

from typing import Any

import msgspec

from services.contracts import messages
from services.contracts.messages import PredictionRequest, Problem, Readiness
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, MODELS_PATH, PREDICT_PATH, READINESS_PATH

_Type = type[msgspec.Struct]

_TYPES: tuple[_Type, ...] = (
    *(PredictionRequest, messages.PredictionResponse, messages.PredictionColumns, messages.SumRow),
    *(messages.HistoryRequest, messages.HistoryResponse, messages.HistoryColumns, messages.HistorySumRow),
    *(messages.ModelsResponse, Readiness, Problem),
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


def _schema(kind: _Type) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def _response(description: str, **schemas: dict[str, Any]) -> dict[str, Any]:
    """A response; the name of an argument is a media type with `_` for its slash."""
    content = {name.replace("_", "/"): {"schema": schema} for name, schema in schemas.items()}
    return {"description": description, "content": content}


def _operation(summary: str, response: dict[str, Any], *problems: str, **more: Any) -> dict[str, Any]:
    """An operation. Besides `problems` it refuses malformed requests, as all do."""
    content = {"application/problem+json": {"schema": _schema(Problem)}}
    problems = ("400", "408", "431", *problems)
    refusals = {status: {"description": _PROBLEMS[status], "content": content} for status in problems}
    return {"summary": summary, **more, "responses": refusals | {"200": response}}


def _query(summary: str, table: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """An operation whose query has the properties of a request's schema."""
    parameters: list[dict[str, Any]] = []
    for name, schema in request["properties"].items():
        # A parameter is absent rather than null.
        schema = {key: value for key, value in schema.items() if (key, value) != ("default", None)}
        choices = [each for each in schema.pop("anyOf", []) if each != {"type": "null"}]
        schema |= choices[0] if len(choices) == 1 else {"anyOf": choices} if choices else {}
        parameter = {"name": name, "in": "query", "required": name in request.get("required", ())}
        parameters.append(parameter | {"description": schema.pop("description", ""), "schema": schema})
    operation = _operation(summary, table, "414", "503", parameters=parameters)
    operation["responses"]["304"] = {"description": "The response named in If-None-Match is still valid."}
    return operation


def document(max_range: int) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service."""
    _, components = msgspec.json.schema_components(_TYPES, ref_template=_REFERENCE)
    prediction, history = components["PredictionRequest"], components.pop("HistoryRequest")
    prediction["properties"]["range"]["maximum"] = max_range

    def table(name: str, response: _Type, columns: _Type, sums: _Type) -> dict[str, Any]:
        """A response with rows under a name, in every layout, in JSON or CSV."""
        properties = components[response.__name__]["properties"]
        layouts = [properties[name], _schema(columns), {"type": "array", "items": _schema(sums)}]
        properties[name] = {"anyOf": layouts}
        text = "One row for each day of each series, or of their sum."
        return _response(text, application_json=_schema(response), text_csv=_TEXT) | {"headers": _HEADERS}

    forecast = table("prediction", messages.PredictionResponse, messages.PredictionColumns, messages.SumRow)
    past = table("history", messages.HistoryResponse, messages.HistoryColumns, messages.HistorySumRow)
    body = {"required": True, "content": {"application/json": {"schema": _schema(PredictionRequest)}}}
    models = _response("The models.", application_json=_schema(messages.ModelsResponse))
    ready = _response("A model is loaded.", application_json=_schema(Readiness))
    alive = _response("Alive.", application_json={})
    metrics = _response("Text exposition format.", text_plain=_TEXT)
    readiness = _operation("Readiness for requests.", ready)
    readiness["responses"]["503"] = ready | {"description": "No model is loaded, or the process is stopping."}
    paths = {
        PREDICT_PATH: {
            "get": _query("Forecast the next days of all series, or of selected ones.", forecast, prediction),
            "post": _operation(
                "The same, with the request in a JSON body.", forecast, "413", "415", "503", requestBody=body
            ),
        },
        "/history": {"get": _query("Sales of the last days before the forecast.", past, history)},
        MODELS_PATH: {
            "get": _operation(
                "The served model and the previous one, with age and backtest scores.", models, "503"
            )
        },
        LIVENESS_PATH: {"get": _operation("Liveness of the process.", alive)},
        READINESS_PATH: {"get": readiness},
        METRICS_PATH: {"get": _operation("Prometheus metrics.", metrics)},
    }
    text = (
        "Forecasts of daily sales with prediction intervals, past sales, and the model that is served. "
        "Responses are compressed for clients that accept gzip."
    )
    info = {"title": "Sales forecast", "version": "1", "description": text}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": components}}
