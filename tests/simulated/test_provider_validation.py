"""What the simulated providers refuse, as the real ones do."""

from typing import Any

import pytest

from tests.simulated.conftest import Stack

TOPIC = {"name": "topic"}
BUCKET = {"name": "bucket", "location": "EU"}


@pytest.mark.parametrize(
    ("type_name", "arguments", "summary", "detail"),
    [
        pytest.param(
            "google_pubsub_topic",
            TOPIC | {"nmae": "x"},
            "Extraneous JSON object property",
            'No argument or block type is named "nmae".',
            id="unknown argument",
        ),
        pytest.param(
            "google_storage_bucket",
            BUCKET | {"lifecycle_rule": [{"action": {"type": "Delete"}, "condition": {"num_newer": 3}}]},
            "Extraneous JSON object property",
            'No argument or block type is named "num_newer".',
            id="unknown nested argument",
        ),
        pytest.param(
            "google_storage_bucket",
            {"name": "bucket"},
            "Missing required argument",
            'The argument "location" is required, but no definition was found.',
            id="missing argument",
        ),
        pytest.param(
            "google_storage_bucket",
            BUCKET | {"lifecycle_rule": [{"action": {"type": "Delete"}}]},
            "Insufficient condition blocks",
            'At least 1 "condition" blocks are required.',
            id="missing block",
        ),
        pytest.param(
            "google_pubsub_topic",
            TOPIC | {"schema_settings": [{"schema": "a"}, {"schema": "b"}]},
            "Too many schema_settings blocks",
            'No more than 1 "schema_settings" blocks are allowed',
            id="two of a single block",
        ),
        pytest.param(
            "google_pubsub_topic",
            TOPIC | {"effective_labels": {"a": "b"}},
            "Value for read-only attribute",
            "Only the provider knows effective_labels: leave it out.",
            id="read-only argument",
        ),
        pytest.param(
            "google_pubsub_topic",
            TOPIC | {"labels": ["a"]},
            "Incorrect attribute value type",
            'Inappropriate value for attribute "labels": map of string required.',
            id="wrong type",
        ),
        pytest.param(
            "google_pubsub_tpic",
            TOPIC,
            "Invalid resource type",
            'The provider localhost/simulated/google does not support resource type "google_pubsub_tpic".',
            id="unknown resource type",
        ),
    ],
)
def test_schema(stack: Stack, type_name: str, arguments: Any, summary: str, detail: str) -> None:
    stack.write({type_name: {"it": arguments}})
    (error,) = stack.errors()
    assert error["summary"] == summary
    assert detail in error["detail"]


@pytest.mark.parametrize(
    ("type_name", "arguments", "message", "line"),
    [
        pytest.param(
            "google_pubsub_topic",
            TOPIC | {"schema_settings": {"schema": "s", "encoding": "XML"}},
            '"XML" is not one of "ENCODING_UNSPECIFIED", "JSON", "BINARY".',
            '"encoding": "XML"',
            id="in a block",
        ),
        pytest.param(
            "google_compute_router_nat",
            {
                "name": "nat",
                "router": "r",
                "source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
                "nat_ip_allocate_option": "AUTO",
            },
            '"AUTO" is not one of "MANUAL_ONLY", "AUTO_ONLY".',
            '"nat_ip_allocate_option": "AUTO"',
            id="at the top",
        ),
    ],
)
def test_enumerated_values(stack: Stack, type_name: str, arguments: Any, message: str, line: str) -> None:
    stack.write({type_name: {"it": arguments}})
    (error,) = stack.errors()
    assert error["detail"] == message
    assert line in error["snippet"]["code"].replace("\n", "")


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
