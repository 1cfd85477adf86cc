"""The OpenAPI document against the service: generated requests, validated responses."""

import warnings
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import Service

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
TAKING_PARAMETERS = ["GET /predict", "POST /predict", "GET /history"]
PLAIN = ["GET /models", "GET /healthz", "GET /readyz", "GET /metrics"]
CASES = [
    *((operation, "positive") for operation in TAKING_PARAMETERS + PLAIN),
    *((operation, "negative") for operation in TAKING_PARAMETERS),
]


def test_every_operation_is_tested(predicting: Service) -> None:
    document = predicting.get("/openapi.json").json()

    operations = [f"{verb.upper()} {path}" for path, verbs in document["paths"].items() for verb in verbs]
    assert operations == TAKING_PARAMETERS + PLAIN


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_responses_conform_to_the_document(predicting: Service, operation: str, mode: str) -> None:
    schema = schemathesis.openapi.from_url(predicting.url + "/openapi.json")
    verb, path = operation.split()
    strategy = schema[path][verb].as_strategy(generation_mode=schemathesis.GenerationMode(mode))

    @settings(
        max_examples=50,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(strategy)
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ask()
