"""The OpenAPI document, from the same types that read requests and write answers."""

from typing import Any

import msgspec

from services.contracts.messages import PredictionRequest, PredictionResponse, Problem
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH

_ERRORS = {
    "400": "The request cannot be answered as it is; `detail` and `allowed` say what can.",
    "503": "No model is loaded yet.",
}


def _response(description: str, schema: str, media_type: str = "application/json") -> dict[str, Any]:
    return {
        "description": description,
        "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _problem(description: str) -> dict[str, Any]:
    return _response(description, "Problem", "application/problem+json")


def _probe(summary: str, responses: dict[str, str]) -> dict[str, Any]:
    return {
        "get": {
            "summary": summary,
            "responses": {status: {"description": text} for status, text in responses.items()},
        }
    }


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service."""
    _, components = msgspec.json.schema_components(
        [PredictionRequest, PredictionResponse, Problem], ref_template="#/components/schemas/{name}"
    )
    request = components["PredictionRequest"]
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": name in request["required"],
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key not in ("description", "default")},
        }
        for name, schema in request["properties"].items()
    ]
    answered = _response("One row for each day of each series.", "PredictionResponse")
    errors = {status: _problem(text) for status, text in _ERRORS.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sales forecast", "version": "1"},
        "paths": {
            "/predict": {
                "get": {
                    "summary": "Forecast the next days of all series, or of those named.",
                    "parameters": parameters,
                    "responses": {
                        "200": answered,
                        "304": {"description": "The answer named in If-None-Match still holds."},
                        "414": _problem("The query is too long."),
                        **errors,
                    },
                },
                "post": {
                    "summary": "The same, asked in a JSON body.",
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/PredictionRequest"}}
                        },
                    },
                    "responses": {
                        "200": answered,
                        "408": _problem("The body did not arrive in time."),
                        "413": _problem("The body is too large."),
                        **errors,
                    },
                },
            },
            LIVENESS_PATH: _probe("Whether the process lives.", {"200": "It does."}),
            READINESS_PATH: _probe(
                "Whether to send requests here.",
                {"200": "A model is loaded.", "503": "No model is loaded, or the process is stopping."},
            ),
            METRICS_PATH: _probe("Prometheus metrics.", {"200": "Text exposition format."}),
        },
        "components": {"schemas": components},
    }
