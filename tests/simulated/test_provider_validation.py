"""Invalid configurations, which the simulated providers refuse as the real ones do."""

import json
import re
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
    "too-small": (
        "google_container_node_pool",
        {"cluster": "cluster", "node_count": -1},
        "Unexpected value of node_count",
        "-1 is less than 0.",
    ),
    "too-large": (
        "google_dataproc_job",
        {
            "placement": {"cluster_name": "cluster"},
            "pig_config": {"query_list": ["x"]},
            "scheduling": {"max_failures_per_hour": 11, "max_failures_total": 1},
        },
        "Unexpected value of max_failures_per_hour",
        "11 is more than 10.",
    ),
    "too-few-items": (
        "google_compute_health_check",
        {"name": "check", "source_regions": ["a", "b"], "tcp_health_check": {"port": 80}},
        "Wrong number of items",
        "source_regions has not 3 to 3 items.",
    ),
    "too-many-items": (
        "google_bigquery_table",
        {"dataset_id": "sales", "table_id": "sales", "clustering": ["a", "b", "c", "d", "e"]},
        "Wrong number of items",
        "clustering has not 0 to 4 items.",
    ),
    "bad-enumerated-item": (
        "google_container_cluster",
        {"name": "c", "location": "EU", "logging_config": {"enable_components": ["WORKLOADS", "PODS"]}},
        "Unexpected value of enable_components",
        '"PODS" is not one of "SYSTEM_COMPONENTS", ',
    ),
    "bad-value-in-a-set-of-blocks": (
        "google_storage_bucket",
        BUCKET | {"lifecycle_rule": [{"action": {"type": "Delete"}, "condition": {"with_state": "OLD"}}]},
        "Unexpected value of with_state",
        '"OLD" is not one of "LIVE", ',
    ),
    "attributes-that-conflict": (
        "google_storage_bucket_object",
        {
            "bucket": "bucket",
            "name": "object",
            "content": "x",
            "content_type": "text/plain",
            "force_empty_content_type": True,
        },
        "Arguments do not go together",
        "force_empty_content_type conflicts with content_type.",
    ),
    "without-its-companion": (
        "google_storage_bucket",
        BUCKET | {"ip_filter": {"mode": "Enabled", "allow_cross_org_vpcs": True}},
        "Arguments do not go together",
        "allow_cross_org_vpcs needs ip_filter.0.vpc_network_sources.",
    ),
    "none-where-at-least-one-is-needed": (
        "google_billing_budget",
        {
            "billing_account": "000000-000000-000000",
            "amount": {"specified_amount": {"units": "1"}},
            "all_updates_rule": {},
        },
        "Arguments do not go together",
        "At least one of all_updates_rule.0.monitoring_notification_channels, all_updates_rule.0.pubs",
    ),
}

LATER = "${google_service_account.valid.email}"
"""A value that is known after an apply, when it may also turn out to be absent."""

# Type -> resources that are valid.
VALID: dict[str, tuple[dict[str, Any], ...]] = {
    "google_billing_budget": (
        {
            "billing_account": "000000-000000-000000",
            "amount": {"specified_amount": {"units": "1"}},
            "all_updates_rule": {"pubsub_topic": LATER},
        },
    ),
    "google_compute_reservation": (
        {
            "name": "reservation",
            "zone": "europe-west1-b",
            "specific_reservation": {"count": 1, "source_instance_template": "template"},
            "delete_at_time": "2030-01-01T00:00:00Z",
        },
    ),
    "google_compute_router": ({"name": "router", "network": "network", "ncc_gateway": LATER},),
    "google_compute_router_nat": (
        {
            "name": LATER,
            "router": "router",
            "source_subnetwork_ip_ranges_to_nat": "LIST_OF_SUBNETWORKS",
            "nat_ip_allocate_option": LATER,
        },
    ),
    "google_container_cluster": (
        {"name": "c", "location": "EU", "logging_config": {"enable_components": ["WORKLOADS", LATER]}},
    ),
    "google_container_node_pool": ({"cluster": "cluster", "node_count": 0},),
    "google_service_account": ({"account_id": "a", "display_name": ""},),
    "google_storage_bucket_object": (
        {"bucket": "bucket", "name": "object", "content": LATER, "source": LATER},
        {"bucket": "bucket", "name": "object", "content": "x", "kms_key_name": LATER},
    ),
}


@pytest.fixture(scope="module")
def errors(simulator: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The error of each invalid resource, from one `terraform validate`."""
    stack = Stack(tmp_path_factory.mktemp("invalid"), "stack", simulator)
    resources: dict[str, dict[str, Any]] = {}
    for name, (type_name, arguments, _, _) in INVALID.items():
        resources.setdefault(type_name, {})[name] = arguments
    for type_name, valid in VALID.items():
        for number, arguments in enumerate(valid):
            resources.setdefault(type_name, {})[f"valid-{number}"] = arguments
    resources["google_service_account"]["valid"] = resources["google_service_account"].pop("valid-0")
    stack.write(resources)
    lines = (stack.folder / "cdk.tf.json").read_text().splitlines()
    errors: dict[str, dict[str, Any]] = {}
    for error in stack.errors():
        above = reversed(lines[: error["range"]["start"]["line"]])
        name = next(found[1] for line in above if (found := re.fullmatch(r' {3}"([\w-]+)": \{', line)))
        errors[name] = error
    return errors


@pytest.mark.parametrize("name", INVALID)
def test_error_of_an_invalid_resource(errors: dict[str, dict[str, Any]], name: str) -> None:
    _, _, summary, detail = INVALID[name]
    assert errors[name]["summary"] == summary
    assert detail in errors[name]["detail"]


def test_valid_resources_have_no_error(errors: dict[str, dict[str, Any]]) -> None:
    assert errors.keys() == INVALID.keys()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("bad-nested-enumerated-value", '"encoding": "XML"'),
        ("bad-value-in-a-set-of-blocks", "}"),  # of what is around it: elements of a set have no path
    ],
)
def test_the_line_is_pointed_at(errors: dict[str, dict[str, Any]], name: str, line: str) -> None:
    assert errors[name]["snippet"]["code"].strip().startswith(line)


def test_defaults_of_the_provider_are_planned(stack: Stack) -> None:
    pool = {"cluster": "c", "name": "pool", "management": {"auto_repair": False}}
    cluster = {"name": "c", "location": "EU", "deletion_protection": False}
    stack.write({"google_container_cluster": {"c": cluster}, "google_container_node_pool": {"p": pool}})
    stack.terraform("plan", "-out=plan")
    plan = json.loads(stack.terraform("show", "-json", "plan").stdout)
    of_cluster, of_pool = (each["change"]["after"] for each in plan["resource_changes"])
    assert of_cluster["enable_shielded_nodes"] is True
    assert of_cluster["deletion_protection"] is False
    assert of_pool["management"] == [{"auto_repair": False, "auto_upgrade": True}]


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
