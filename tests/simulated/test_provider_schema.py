"""The schemas that the simulated providers announce, against what the real ones do."""

import json
from typing import Any

import pytest

from tests.simulated.conftest import Stack

Schemas = dict[str, dict[str, Any]]

TYPES = (
    "google_bigquery_table",
    "google_compute_router_nat",
    "google_container_cluster",
    "google_pubsub_topic",
    "google_secret_manager_secret_version",
    "google_storage_bucket",
    "kubernetes_config_map_v1",
    "kubernetes_deployment_v1",
    "kubernetes_manifest",
    "kubernetes_secret_v1",
)


@pytest.fixture(scope="module")
def schemas(simulator: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Schemas:
    stack = Stack(tmp_path_factory.mktemp("schemas"), "stack", simulator)
    # The provider announces the types of a stack.
    stack.write({name: {"a": {}} for name in TYPES}, providers=("google", "kubernetes"))
    document = json.loads(stack.terraform("providers", "schema", "-json").stdout)["provider_schemas"]
    return {source.rpartition("/")[2]: schema for source, schema in document.items()}


def resource(schemas: Schemas, type_name: str) -> dict[str, Any]:
    return schemas[type_name.partition("_")[0]]["resource_schemas"][type_name]["block"]


@pytest.mark.parametrize(
    ("type_name", "attribute", "expected"),
    [
        ("google_pubsub_topic", "name", {"type": "string", "required": True}),
        ("google_pubsub_topic", "labels", {"type": ["map", "string"], "optional": True}),
        ("google_pubsub_topic", "project", {"type": "string", "optional": True, "computed": True}),
        ("google_pubsub_topic", "effective_labels", {"type": ["map", "string"], "computed": True}),
        (
            "google_compute_router_nat",
            "nat_ips",
            {"type": ["set", "string"], "optional": True, "computed": True},
        ),
        ("google_bigquery_table", "num_rows", {"type": "number", "computed": True}),
        ("google_storage_bucket", "force_destroy", {"type": "bool", "optional": True}),
        ("kubernetes_manifest", "manifest", {"type": "dynamic", "required": True}),
        (
            "google_secret_manager_secret_version",
            "secret_data",
            {"type": "string", "optional": True, "sensitive": True},
        ),
        (
            "kubernetes_secret_v1",
            "data",
            {"type": ["map", "string"], "optional": True, "computed": True, "sensitive": True},
        ),
        ("kubernetes_config_map_v1", "data", {"type": ["map", "string"], "optional": True}),
    ],
)
def test_attribute(schemas: Schemas, type_name: str, attribute: str, expected: dict[str, Any]) -> None:
    found = resource(schemas, type_name)["attributes"][attribute]
    assert {key: value for key, value in found.items() if not key.startswith("description")} == expected


@pytest.mark.parametrize(
    ("type_name", "path", "expected"),
    [
        ("google_pubsub_topic", ["schema_settings"], ("list", None, 1)),
        ("google_storage_bucket", ["lifecycle_rule"], ("list", None, 100)),
        ("google_storage_bucket", ["lifecycle_rule", "condition"], ("set", 1, 1)),
        ("google_pubsub_topic", ["timeouts"], ("single", None, None)),
        (
            "kubernetes_deployment_v1",
            ["spec", "template", "spec", "container", "readiness_probe", "http_get"],
            ("list", None, 1),
        ),
    ],
)
def test_block(schemas: Schemas, type_name: str, path: list[str], expected: tuple[Any, ...]) -> None:
    block = resource(schemas, type_name)
    found: dict[str, Any] = {}
    for name in path:
        found = block["block_types"][name]
        block = found["block"]
    assert (found["nesting_mode"], found.get("min_items"), found.get("max_items")) == expected


def test_all_types_are_announced_only_while_terraform_writes_the_state(stack: Stack) -> None:
    """A new state is an empty file while it is locked; a backup shows that Terraform has emptied it."""

    def types() -> set[str]:
        document = json.loads(stack.terraform("providers", "schema", "-json").stdout)
        [schemas] = document["provider_schemas"].values()
        return {*schemas["resource_schemas"]}

    stack.write({"google_pubsub_topic": {"a": {"name": "a"}}})
    (stack.folder / "terraform.tfstate").touch()
    assert types() == {"google_pubsub_topic"}
    (stack.folder / "terraform.tfstate.backup").touch()
    assert len(types()) > 1000
