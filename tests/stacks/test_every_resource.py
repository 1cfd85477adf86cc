"""What holds for every resource of every stack."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from infra import environment
from infra.environment import Environment
from tests.stacks.synthesized import Stack, Synthesis

ENVIRONMENTS = {each.name: each for each in environment.load_all()}
ALL = [f"{name}-{stack}" for name, each in ENVIRONMENTS.items() for stack in each.stacks]

PROJECT_ROLES = {
    (
        "cluster",
        "roles/container.defaultNodeServiceAccount",
    ): "logs and metrics have no resource of their own",
    ("orchestration", "roles/composer.worker"): "Composer checks for it on the project",
    ("orchestration", "roles/bigquery.jobUser"): "loads and queries are jobs of a project, not of a table",
}
"""The only grants on a whole project, and why there is no resource to grant them on."""

NAMES = {
    "google_artifact_registry_repository": ("repository_id", r"[a-z][a-z0-9-]{0,61}[a-z0-9]"),
    "google_bigquery_dataset": ("dataset_id", r"\w{1,1024}"),
    "google_bigquery_table": ("table_id", r"\w{1,1024}"),
    "google_composer_environment": ("name", r"[a-z][a-z0-9-]{0,62}"),
    "google_certificate_manager_certificate": ("name", r"[a-z][a-z0-9-]{0,62}"),
    "google_certificate_manager_dns_authorization": ("name", r"[a-z][a-z0-9-]{0,62}"),
    "google_compute_address": ("name", r"[a-z][a-z0-9-]{0,62}"),
    "google_compute_network": ("name", r"[a-z][a-z0-9-]{0,62}"),
    "google_compute_region_security_policy": ("name", r"[a-z][a-z0-9-]{0,62}"),
    "google_compute_region_ssl_policy": ("name", r"[a-z][a-z0-9-]{0,62}"),
    "google_compute_router": ("name", r"[a-z][a-z0-9-]{0,62}"),
    "google_compute_router_nat": ("name", r"[a-z][a-z0-9-]{0,62}"),
    "google_compute_subnetwork": ("name", r"[a-z][a-z0-9-]{0,62}"),
    "google_container_cluster": ("name", r"[a-z][a-z0-9-]{0,38}[a-z0-9]"),
    "google_container_node_pool": ("name", r"[a-z][a-z0-9-]{0,38}[a-z0-9]"),
    "google_monitoring_custom_service": ("service_id", r"[a-z0-9-]{1,64}"),
    "google_monitoring_slo": ("slo_id", r"[a-zA-Z0-9:._-]{1,64}"),
    "google_pubsub_schema": ("name", r"(?!goog)[A-Za-z][\w.~+%-]{2,254}"),
    "google_pubsub_subscription": ("name", r"(?!goog)[A-Za-z][\w.~+%-]{2,254}"),
    "google_pubsub_topic": ("name", r"(?!goog)[A-Za-z][\w.~+%-]{2,254}"),
    "google_service_account": ("account_id", r"[a-z][a-z0-9-]{4,28}[a-z0-9]"),
    "google_storage_bucket_object": ("name", r"[\w./-]{1,1024}"),
    "google_storage_bucket": ("name", r"(?!goog)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"),
}
"""Of each type with a name: the argument, and what the API takes. What Terraform computes matches none."""

NAMELESS = {
    "google_monitoring_alert_policy",
    "google_monitoring_dashboard",
    "google_monitoring_notification_channel",
    "google_project_service",
}


@pytest.fixture(params=ALL)
def stack(request: pytest.FixtureRequest, synthesis: Synthesis) -> Stack:
    return synthesis.stack(request.param)


@pytest.fixture
def here(stack: Stack) -> Environment:
    return ENVIRONMENTS[stack.id.partition("-")[0]]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:  # pyright: ignore[reportUnknownVariableType]
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def test_labels(stack: Stack, here: Environment) -> None:
    labels = {"environment": here.name, "stack": stack.id.partition("-")[2], "managed_by": "terraform"}
    assert stack.content["provider"]["google"] == [
        {"project": here.project_id, "region": here.region, "default_labels": labels}
    ]
    for kind, name, resource in stack.resources:
        if kind.startswith("google_monitoring_") and kind != "google_monitoring_dashboard":  # which has none
            assert resource["user_labels"] == labels, name
        if kind.startswith("kubernetes_"):
            metadata = resource.get("manifest", resource)["metadata"]
            assert metadata["labels"]["environment"] == here.name, name
            assert metadata["labels"]["app.kubernetes.io/managed-by"] == "terraform", name


def test_names_are_known_before_an_apply_and_fit_the_api(stack: Stack) -> None:
    for kind, name, resource in stack.resources:
        if kind.startswith("google_") and "_iam_" not in kind and kind not in NAMELESS:
            argument, pattern = NAMES[kind]
            assert re.fullmatch(pattern, resource[argument]), name


def test_versions_and_state(stack: Stack, here: Environment) -> None:
    terraform = stack.content["terraform"]
    prefix = "localhost/simulated/" if here.simulated else ""
    assert terraform["required_version"] == ">= 1.6"
    versions = {
        "google": {"source": f"{prefix}google", "version": "6.50.0"},
        "kubernetes": {"source": f"{prefix}kubernetes", "version": "2.38.0"},
    }
    needed = ("google", "kubernetes") if stack.id.endswith("-services") else ("google",)
    assert terraform["required_providers"] == {name: versions[name] for name in needed}
    if not here.simulated:
        state = {"bucket": f"{here.project_id}-tfstate", "prefix": stack.id.partition("-")[2]}
        assert terraform["backend"] == {"gcs": state}


def test_only_the_cluster_is_read_from_a_state(stack: Stack) -> None:
    """A data source would need credentials at plan, and the resource to exist."""
    data = stack.content.get("data", {})
    if stack.id.endswith("-services"):
        (state,) = data.pop("terraform_remote_state").values()
        assert "cluster" in str(state["config"])
    assert not data


def test_no_grant_on_the_project_but_those_with_a_reason(stack: Stack, here: Environment) -> None:
    granted = {each["role"] for each in stack.all("google_project_iam_member").values()}
    layer = stack.id.partition("-")[2]
    assert granted == {role for where, role in PROJECT_ROLES if where == layer}
    others = {kind for kind, _, _ in stack.resources if "_iam_" in kind and not kind.endswith("_iam_member")}
    assert not others  # a policy or binding would take away what somebody else granted
    assert all(
        "allUsers" not in each and "allAuthenticatedUsers" not in each for each in texts(stack.content)
    )


def test_members_are_of_this_project(stack: Stack, here: Environment) -> None:
    number, project = here.project_number, here.project_id
    known = (
        rf"serviceAccount:[a-z0-9-]+@{project}\.iam\.gserviceaccount\.com"
        rf"|serviceAccount:service-{number}@gcp-sa-pubsub\.iam\.gserviceaccount\.com"
        rf"|principal://iam\.googleapis\.com/projects/{number}/locations/global/workloadIdentityPools"
        rf"/{project}\.svc\.id\.goog/subject/ns/sales-forecast/sa/[a-z]+"
    )
    for kind, name, resource in stack.resources:
        if kind.endswith("_iam_member") and resource["member"] not in here.data.readers:
            assert re.fullmatch(known, resource["member"]), name


def test_protection(stack: Stack, here: Environment) -> None:
    protected = here.deletion_protection
    for kind, name, resource in stack.resources:
        match kind:
            case "google_bigquery_dataset":
                assert resource["delete_contents_on_destroy"] is not protected, name
            case "google_bigquery_table" if "view" in resource:
                assert resource["deletion_protection"] is False, name
            case "google_bigquery_table" | "google_container_cluster":
                assert resource["deletion_protection"] is protected, name
            case "google_storage_bucket":
                assert resource["force_destroy"] is not protected, name
            case "google_composer_environment":
                assert resource["lifecycle"] == {"prevent_destroy": protected}, name
            case _:
                pass


def test_no_empty_block(stack: Stack) -> None:
    """What became of a dict where a typed class was meant: jsii drops the keys that it does not know."""
    allowed = {"pod_selector"}  # of the policy for all pods

    def empty(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            if not value:
                yield path
            for key, each in value.items():  # pyright: ignore[reportUnknownVariableType]
                yield from empty(each, f"{path}.{key}")
        elif isinstance(value, list):
            for index, each in enumerate(value):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
                yield from empty(each, f"{path}.{index}")

    found = [path for kind, name, each in stack.resources for path in empty(each, f"{kind}.{name}")]
    assert [path for path in found if path.rpartition(".")[2] not in allowed] == []
