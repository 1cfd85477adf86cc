"""Invalid configurations, which the simulated providers refuse as the real ones do."""

import json
from typing import Any

import pytest

from tests.simulated.conftest import Stack

TOPIC = {"name": "topic"}
BUCKET = {"name": "bucket", "location": "EU"}
SUBSCRIPTION = {"name": "subscription", "topic": "topic"}


# Resource name -> type, arguments, summary and detail of the error.
INVALID: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "unknown-argument": (
        "google_pubsub_topic",
        TOPIC | {"nmae": "x"},
        "Extraneous JSON object property",
        'No argument or block type is named "nmae".',
    ),
    "unknown-nested-argument": (
        "google_storage_bucket",
        BUCKET | {"lifecycle_rule": [{"action": {"type": "Delete"}, "condition": {"num_newer": 3}}]},
        "Extraneous JSON object property",
        'No argument or block type is named "num_newer".',
    ),
    "missing-argument": (
        "google_storage_bucket",
        {"name": "bucket"},
        "Missing required argument",
        'The argument "location" is required, but no definition was found.',
    ),
    "missing-block": (
        "google_storage_bucket",
        BUCKET | {"lifecycle_rule": [{"action": {"type": "Delete"}}]},
        "Insufficient condition blocks",
        'At least 1 "condition" blocks are required.',
    ),
    "two-of-a-single-block": (
        "google_pubsub_topic",
        TOPIC | {"schema_settings": [{"schema": "a"}, {"schema": "b"}]},
        "Too many schema_settings blocks",
        'No more than 1 "schema_settings" blocks are allowed',
    ),
    "read-only-argument": (
        "google_pubsub_topic",
        TOPIC | {"effective_labels": {"a": "b"}},
        "Value for read-only attribute",
        "The provider computes effective_labels: leave it out.",
    ),
    "wrong-type": (
        "google_pubsub_topic",
        TOPIC | {"labels": ["a"]},
        "Incorrect attribute value type",
        'Inappropriate value for attribute "labels": map of string required.',
    ),
    "bad-enumerated-value": (
        "google_compute_router_nat",
        {
            "name": "nat",
            "router": "router",
            "source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
            "nat_ip_allocate_option": "AUTO",
        },
        "Unexpected value of nat_ip_allocate_option",
        '"AUTO" is not one of "MANUAL_ONLY", "AUTO_ONLY", "".',
    ),
    "bad-nested-enumerated-value": (
        "google_pubsub_topic",
        TOPIC | {"schema_settings": {"schema": "s", "encoding": "XML"}},
        "Unexpected value of encoding",
        '"XML" is not one of "ENCODING_UNSPECIFIED", "JSON", "BINARY", "".',
    ),
    "arguments-that-conflict": (
        "google_pubsub_subscription",
        SUBSCRIPTION | {"push_config": {"push_endpoint": "https://a"}, "bigquery_config": {"table": "p.d.t"}},
        "Arguments do not go together",
        "push_config conflicts with bigquery_config.",
    ),
    "two-where-one-is-needed": (
        "google_storage_bucket_object",
        {"bucket": "bucket", "name": "object", "content": "x", "source": "y"},
        "Arguments do not go together",
        "Exactly one of content, source must be set.",
    ),
    "none-where-one-is-needed": (
        "google_storage_bucket_object",
        {"bucket": "bucket", "name": "object"},
        "Arguments do not go together",
        "Exactly one of content, source must be set.",
    ),
    "too-long": (
        "google_service_account",
        {"account_id": "a", "description": "d" * 257},
        "Unexpected value of description",
        "has not 0 to 256 characters.",
    ),
    "does-not-match": (
        "google_pubsub_subscription",
        SUBSCRIPTION | {"filter": "f" * 257},
        "Unexpected value of filter",
        "does not match",
    ),
    "out-of-range": (
        "google_compute_router_nat",
        {
            "name": "nat",
            "router": "router",
            "source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
            "rules": [{"rule_number": 65001, "match": "true"}],
        },
        "Unexpected value of rule_number",
        "65001 is not between 0 and 65000.",
    ),
}


@pytest.fixture(scope="module")
def errors(simulator: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The error of each invalid resource, from one `terraform validate`."""
    stack = Stack(tmp_path_factory.mktemp("invalid"), "stack", simulator)
    resources: dict[str, dict[str, Any]] = {}
    for name, (type_name, arguments, _, _) in INVALID.items():
        resources.setdefault(type_name, {})[name] = arguments
    resources["google_service_account"]["valid"] = {"account_id": "a", "display_name": ""}
    stack.write(resources)
    lines = (stack.folder / "cdk.tf.json").read_text().splitlines()
    found: dict[str, dict[str, Any]] = {}
    for error in stack.errors():
        above = reversed(lines[: error["range"]["start"]["line"]])
        name = next(name for line in above for name in INVALID if line.strip() == f'"{name}": {{')
        found[name] = error
    return found


@pytest.mark.parametrize("name", INVALID)
def test_error_of_an_invalid_resource(errors: dict[str, dict[str, Any]], name: str) -> None:
    _, _, summary, detail = INVALID[name]
    assert errors[name]["summary"] == summary
    assert detail in errors[name]["detail"]


def test_valid_resources_have_no_error(errors: dict[str, dict[str, Any]]) -> None:
    assert errors.keys() == INVALID.keys()


def test_enumerated_value_is_pointed_at(errors: dict[str, dict[str, Any]]) -> None:
    assert errors["bad-nested-enumerated-value"]["snippet"]["code"].strip().startswith('"encoding": "XML"')


def test_unknown_type(stack: Stack) -> None:
    stack.write({"google_pubsub_tpic": {"topic": TOPIC}})
    (error,) = stack.errors()
    assert error["summary"] == "Invalid resource type"
    assert 'does not support resource type "google_pubsub_tpic"' in error["detail"]


def test_data_sources_are_refused(stack: Stack) -> None:
    stack.write({"google_service_account": {"a": {"account_id": "a"}}})
    file = stack.folder / "cdk.tf.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"data": {"google_project": {"p": {}}}}))
    (error,) = stack.errors()
    assert error["summary"] == "Invalid data source"
    assert 'does not support data source "google_project"' in error["detail"]


def test_enumerated_value_known_only_later_is_checked_then(stack: Stack) -> None:
    topic = TOPIC | {"schema_settings": {"schema": "s", "encoding": "${google_service_account.a.email}"}}
    stack.write({"google_service_account": {"a": {"account_id": "a"}}, "google_pubsub_topic": {"t": topic}})
    assert stack.errors() == []
    applied = stack.run("apply", "-auto-approve")
    assert applied.status == 1
    (error,) = applied.diagnostics("error")
    assert error["detail"].startswith('"a@p-1.iam.gserviceaccount.com" is not one of')


def test_project_must_come_from_somewhere(stack: Stack) -> None:
    stack.write({"google_service_account": {"a": {"account_id": "a"}}}, google={"project": None})
    planned = stack.plan()
    assert planned.status == 1
    assert planned.diagnostics("error")[0]["summary"] == "Missing project"
