"""What holds for every resource of every stack, including those that are still to come.

A test collects what is wrong everywhere and fails with the list.
"""

import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra import environment
from infra.environment import Environment
from scripts.deployment.plans import IRREPLACEABLE
from tests.stacks.synthesized import Stack, Synthesis

ENVIRONMENTS = {each.name: each for each in environment.load_all()}
BINDINGS = Path(sysconfig.get_path("purelib")) / "cdktf_cdktf_provider_google"
ALL = [f"{name}-{stack}" for name, each in ENVIRONMENTS.items() for stack in each.stacks]

PROJECT_ROLES = {
    ("foundation", "nodes", "roles/container.defaultNodeServiceAccount"): "logs and metrics are a project's",
    (
        "foundation",
        "copies",
        "projects/sales-forecast-prod/roles/copyStarter",
    ): "copies are made in a project",
    ("foundation", "airflow", "roles/composer.worker"): "Composer checks for it on the project",
    ("foundation", "starter", "roles/container.viewer"): "a cluster has no policy of its own",
    ("foundation", "airflow", "roles/dataflow.developer"): "jobs are made in a project",
    ("orchestration", "dataflow", "roles/bigquery.jobUser"): "loads and queries are jobs of a project",
    ("foundation", "dataflow", "roles/dataflow.worker"): "jobs are made in a project",
}
"""The only grants on a whole project, beside those of CI, and why there is no resource to grant them on."""

COMPUTE_NAME = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
PUBSUB_NAME = r"(?!goog)[A-Za-z][\w.~+%-]{2,254}"
NAMES = {
    "google_artifact_registry_repository": ("repository_id", r"[a-z][a-z0-9-]{0,61}[a-z0-9]"),
    "google_bigquery_dataset": ("dataset_id", r"\w{1,1024}"),
    "google_bigquery_routine": ("routine_id", r"\w{1,256}"),
    "google_bigquery_table": ("table_id", r"\w{1,1024}"),
    "google_binary_authorization_attestor": ("name", r"[\w-]{1,128}"),
    "google_container_analysis_note": ("name", r"[\w-]{1,128}"),
    "google_certificate_manager_certificate": ("name", COMPUTE_NAME),
    "google_certificate_manager_dns_authorization": ("name", COMPUTE_NAME),
    "google_composer_environment": ("name", COMPUTE_NAME),
    "google_compute_address": ("name", COMPUTE_NAME),
    "google_compute_network": ("name", COMPUTE_NAME),
    "google_compute_region_security_policy": ("name", COMPUTE_NAME),
    "google_compute_region_ssl_policy": ("name", COMPUTE_NAME),
    "google_compute_router": ("name", COMPUTE_NAME),
    "google_compute_router_nat": ("name", COMPUTE_NAME),
    "google_compute_subnetwork": ("name", COMPUTE_NAME),
    "google_container_cluster": ("name", r"[a-z][a-z0-9-]{0,38}[a-z0-9]"),
    "google_container_node_pool": ("name", r"[a-z][a-z0-9-]{0,38}[a-z0-9]"),
    "google_dns_managed_zone": ("name", COMPUTE_NAME),
    "google_dns_record_set": ("name", r"(\*|[a-z]+)\.googleapis\.com\."),
    "google_gke_backup_backup_plan": ("name", COMPUTE_NAME),
    "google_gke_backup_restore_plan": ("name", COMPUTE_NAME),
    "google_iam_workload_identity_pool": ("workload_identity_pool_id", r"(?!gcp-)[a-z0-9-]{4,32}"),
    "google_iam_workload_identity_pool_provider": (
        "workload_identity_pool_provider_id",
        r"(?!gcp-)[a-z0-9-]{4,32}",
    ),
    "google_iam_deny_policy": ("name", r"[a-z][a-z0-9-]{1,61}[a-z0-9]"),
    "google_kms_crypto_key": ("name", r"[\w-]{1,63}"),
    "google_kms_key_ring": ("name", r"[\w-]{1,63}"),
    "google_cloud_quotas_quota_preference": ("name", COMPUTE_NAME),
    "google_logging_project_bucket_config": ("bucket_id", r"[\w][\w.-]{0,99}"),
    "google_logging_project_exclusion": ("name", r"[\w.-]{1,100}"),
    "google_logging_project_sink": ("name", r"[\w.-]{1,100}"),
    "google_logging_metric": ("name", r"[\w./-]{1,100}"),
    "google_project_iam_custom_role": ("role_id", r"[\w.]{3,64}"),
    "google_pubsub_schema": ("name", PUBSUB_NAME),
    "google_pubsub_subscription": ("name", PUBSUB_NAME),
    "google_pubsub_topic": ("name", PUBSUB_NAME),
    "google_secret_manager_secret": ("secret_id", r"[\w-]{1,255}"),
    "google_service_account": ("account_id", r"[a-z][a-z0-9-]{4,28}[a-z0-9]"),
    "google_tags_tag_key": ("short_name", r"[\w.-]{1,256}"),
    "google_tags_tag_value": ("short_name", r"[\w.-]{1,256}"),
    "google_storage_bucket": ("name", r"(?!goog)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"),
    "google_storage_bucket_object": ("name", r"[\w./-]{1,1024}"),
}
"""Of each type with a name: the argument, and what the API takes. What Terraform computes matches none."""

NAMELESS = {
    "google_bigquery_data_transfer_config",
    "google_billing_budget",
    "google_binary_authorization_policy",  # a project has one
    "google_monitoring_alert_policy",
    "google_monitoring_dashboard",
    "google_monitoring_notification_channel",
    "google_monitoring_uptime_check_config",
    "google_project_default_service_accounts",
    "google_project_service",
    "google_tags_location_tag_binding",  # of one resource to one value
    "terraform_data",  # a pause
}
"""Google makes up a number, or there is but one."""

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
KUBERNETES_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
KUBERNETES_NAME = rf"(?=.{{1,253}}$){KUBERNETES_LABEL}(\.{KUBERNETES_LABEL})*"
# https://cloud.google.com/resource-manager/docs/labels-overview#requirements
GOOGLE_LABEL = r"[a-z][a-z0-9_-]{0,62}"

DESTROYED_WHEN = {
    "delete_contents_on_destroy": True,
    "deletion_protection": False,
    "force_destroy": True,
}
"""Arguments that decide whether a destroy takes data with it, and the value with which it does."""

PREVENTED = {
    "google_composer_environment",
    "google_kms_crypto_key",
    "google_kms_key_ring",
    "google_pubsub_subscription",
    "google_pubsub_topic",
}
"""What holds something that no apply brings back, and has no argument of its own for that."""


@pytest.fixture(params=ALL)
def stack(request: pytest.FixtureRequest, synthesis: Synthesis) -> Stack:
    return synthesis.stack(request.param)


@pytest.fixture
def here(stack: Stack) -> Environment:
    return ENVIRONMENTS[stack.id.partition("-")[0]]


def nothing(faults: Iterable[str]) -> None:
    """Fail with everything that was found, if anything was."""
    found = list(faults)
    assert not found, "\n".join(["", *found])


def metadata(resource: dict[str, Any]) -> dict[str, Any]:
    """Of a Kubernetes object, however it is made."""
    return resource.get("manifest", resource)["metadata"]


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

    def faults() -> Iterator[str]:
        for kind, name, resource in stack.resources:
            # These have labels of their own, which the provider's defaults do not reach.
            if "user_labels" in arguments(kind) and resource.get("user_labels") != labels:
                yield f"{kind}.{name}: user_labels are not those of the stack"
            for each in ("labels", "resource_labels", "user_labels"):
                if kind == "google_monitoring_notification_channel" and each == "labels":
                    continue  # an address is kept there
                for key, value in resource.get(each, {}).items():
                    if not re.fullmatch(GOOGLE_LABEL, key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                        yield f"{kind}.{name}: {key}={value} is no label of Google Cloud"
            if kind.startswith("kubernetes_"):
                of_object = metadata(resource).get("labels", {})
                for key, value in (
                    ("environment", here.name),
                    ("app.kubernetes.io/managed-by", "terraform"),
                ):
                    if of_object.get(key) != value:
                        yield f"{kind}.{name}: no label {key}={value}"

    nothing(faults())


def test_projects_are_stated(stack: Stack, here: Environment) -> None:
    """Not left to whatever the provider's default is."""
    nothing(
        f"{kind}.{name}: project = {resource.get('project')}"
        for kind, name, resource in stack.resources
        if "project" in arguments(kind) and resource.get("project") != here.project_id
    )


def test_names_are_known_before_an_apply_and_fit_the_api(stack: Stack) -> None:
    def faults() -> Iterator[str]:
        for kind, name, resource in stack.resources:
            if kind.startswith("kubernetes_"):
                if not re.fullmatch(KUBERNETES_NAME, metadata(resource).get("name", "")):
                    yield f"{kind}.{name}: {metadata(resource).get('name')} is no name of Kubernetes"
            elif "_iam_" in kind.replace("_iam_workload", "").replace("_iam_custom_role", ""):
                continue  # a grant has no name
            elif kind in NAMES:
                argument, pattern = NAMES[kind]
                if not re.fullmatch(pattern, resource.get(argument, "")):
                    yield f"{kind}.{name}: {argument} = {resource.get(argument)} does not match {pattern}"
            elif kind not in NAMELESS:
                yield f"{kind}.{name}: what its API takes as a name is missing in NAMES"

    nothing(faults())


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_two_resources_of_an_environment_are_the_same(synthesis: Synthesis, name: str) -> None:
    """Each would undo what the other did."""
    there = Counter[str]()
    for stack in ENVIRONMENTS[name].stacks:
        for kind, _, resource in synthesis.stack(f"{name}-{stack}").resources:
            if kind.endswith("_iam_member"):
                grant = {key: value for key, value in resource.items() if key != "depends_on"}
                there[f"{kind} {sorted(texts(grant))}"] += 1
            elif kind in NAMES:
                within = [resource.get(key) for key in ("dataset_id", "bucket", "cluster", "service", "type")]
                there[f"{kind} {resource[NAMES[kind][0]]} {within}"] += 1
            elif kind == "google_project_service":
                there[f"{kind} {resource['service']}"] += 1
    nothing(f"{times} times: {resource}" for resource, times in there.items() if times > 1)


def test_versions_and_state(stack: Stack, here: Environment) -> None:
    terraform = stack.content["terraform"]
    prefix = "localhost/simulated/" if here.simulated else ""
    assert terraform["required_version"] == ">= 1.6"
    versions = {
        "google": {"source": f"{prefix}google", "version": "~> 8.0"},
        "kubernetes": {"source": f"{prefix}kubernetes", "version": "~> 3.2"},
    }
    needed = ("google", "kubernetes") if stack.id.endswith(("-services", "-orchestration")) else ("google",)
    assert terraform["required_providers"] == {name: versions[name] for name in needed}
    if not here.simulated:
        state = {"bucket": f"{here.project_id}-tfstate", "prefix": stack.id.partition("-")[2]}
        assert terraform["backend"] == {"gcs": state}


def test_only_cluster_and_tag_are_read_from_a_state(stack: Stack) -> None:
    """A data source would need credentials at plan, and the resource to exist."""
    data = dict(stack.content.get("data", {}))
    layers = {"cluster"} if stack.id.endswith(("-services", "-orchestration")) else set[str]()
    if stack.all("google_tags_location_tag_binding"):
        layers.add("foundation")
    states = data.pop("terraform_remote_state", {})
    assert {each.rpartition("-")[2] for each in states} == layers
    assert not data


def test_no_grant_on_the_project_but_those_with_a_reason(stack: Stack) -> None:
    layer = stack.id.partition("-")[2]
    granted = {
        (layer, re.sub(r"serviceAccount:sales-forecast-([a-z0-9-]+)@.*", r"\1", each["member"]), each["role"])
        for each in stack.all("google_project_iam_member").values()
        if "@" in each["member"] and not each["member"].startswith("serviceAccount:sales-forecast-ci-")
    }
    accounts = {each["account_id"] for each in stack.all("google_service_account").values()}
    assert granted == {
        (where, who, role)
        for where, who, role in PROJECT_ROLES
        if where == layer and (where != "foundation" or f"sales-forecast-{who}" in accounts)
    }
    nothing(
        f"{kind}: would take away what somebody else granted"
        for kind, _, _ in stack.resources
        if kind.endswith(("_iam_policy", "_iam_binding"))
    )
    nothing(
        f"{each}: everybody" for each in texts(stack.content) if re.search("all(Authenticated)?Users", each)
    )


REPLACEABLE = {
    "a grant, a rule or a setting: the next apply makes the same": r"google_("
    r"bigquery_data_transfer_config|\w+_iam_member|project_iam_(custom_role|audit_config)|project_(service|default_service_accounts)"
    r"|iam_deny_policy|binary_authorization_policy|cloud_quotas_quota_preference|logging_project_(exclusion|sink)"
    r"|compute_region_s(sl|ecurity)_policy|tags_location_tag_binding|tags_tag_(key|value))",
    "an identity: its name stays, and with it what it may do; bootstrap undeletes a pool": "google_("
    "service_account|iam_workload_identity_pool(_provider)?)",
    "its content is in this repository": "google_(pubsub_schema|storage_bucket_object)",
    "watches, stores nothing": "google_(billing_budget|monitoring_("
    "alert_policy|dashboard|notification_channel|uptime_check_config))",
    "nothing but pods and their connections is in it, and these come back": "google_("
    "container_node_pool|compute_(network|subnetwork|router|router_nat)|dns_(managed_zone|record_set))",
    "is issued anew": "google_certificate_manager_certificate",
    "names a backup, holds none": "google_gke_backup_restore_plan",
    "Kubernetes' objects keep no data: there is no volume": r"kubernetes_\w+",
    "is nothing but a wait": "terraform_data",
}


def test_of_every_type_it_is_known_whether_a_loss_can_be_undone(
    synthesis: Synthesis, variants: Synthesis
) -> None:
    """A new type is added to those that `scripts/diff` guards, or above with the reason why not."""
    made = {kind for each in (synthesis, variants) for stack in each.stacks for kind, _, _ in stack.resources}
    known = [re.compile(pattern) for pattern in REPLACEABLE.values()]
    harmless = {kind for kind in made if any(pattern.fullmatch(kind) for pattern in known)}
    assert harmless & IRREPLACEABLE == set()
    assert made - harmless == IRREPLACEABLE, "undecided, or guarded and not made by any stack"
    for pattern in known:
        assert any(pattern.fullmatch(kind) for kind in made), pattern
    for stack in synthesis.stacks:
        assert "volume_claim_template" not in str(stack.content), "a volume has data"
        assert "persistent_volume_claim" not in str(stack.content), "a volume has data"


def test_no_role_that_is_everything(stack: Stack) -> None:
    nothing(
        f"{kind}.{name}: {resource['role']}"
        for kind, name, resource in stack.resources
        if kind.endswith("_iam_member")
        and resource["role"] in ("roles/owner", "roles/editor", "roles/viewer")
    )


def test_ci_may_grant_on_the_project_what_stacks_grant_there(synthesis: Synthesis) -> None:
    """And nothing else, or it could make itself whatever it likes."""
    for name, here in ENVIRONMENTS.items():
        if not here.ci:
            continue
        later = [synthesis.stack(f"{name}-{each}") for each in here.stacks if each != "foundation"]
        grants = [each for stack in later for each in stack.all("google_project_iam_member").values()]
        admin = synthesis.stack(f"{name}-foundation").one(
            "google_project_iam_member", role="roles/resourcemanager.projectIamAdmin"
        )
        roles = ", ".join(f"'{role}'" for role in sorted({each["role"] for each in grants}))
        assert admin["condition"]["expression"] == (
            f"api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([{roles}])"
        )


def test_members_are_of_this_project(stack: Stack, here: Environment) -> None:
    number, project = here.project_number, here.project_id
    agents = "gcp-sa-[a-z]+|container-engine-robot|compute-system"
    pools = rf"iam\.googleapis\.com/projects/{number}/locations/global/workloadIdentityPools"
    known = (
        rf"serviceAccount:[a-z0-9-]+@{project}\.iam\.gserviceaccount\.com"
        rf"|serviceAccount:service-{number}@({agents})\.iam\.gserviceaccount\.com"
        rf"|principal://{pools}/{project}\.svc\.id\.goog/subject/ns/sales-forecast(-batch)?/sa/[a-z-]+"
        rf"|principalSet://{pools}/github/attribute\.access/(plan|apply)"
    )
    nothing(
        f"{kind}.{name}: {resource['member']}"
        for kind, name, resource in stack.resources
        if kind.endswith("_iam_member")
        and resource["member"] not in people(here)
        and not re.fullmatch(known, resource["member"].removeprefix("iamMember:"))
    )


def people(here: Environment) -> set[str]:
    """Members that the environment file names."""
    return {*here.data.readers, *(here.gateway.iap_members if here.gateway else ())}


def arguments(kind: str) -> set[str]:
    """What a resource of the google provider takes, read from its bindings."""
    if not kind.startswith("google_"):
        return set()
    source = (BINDINGS / kind.removeprefix("google_") / "__init__.py").read_text(encoding="utf-8")
    init = source[source.index("def __init__(") : source.index(") -> None:")]
    return set(re.findall(r"^        (\w+): ", init, re.M))


def test_arguments_are_read_from_the_bindings() -> None:
    assert {"deletion_protection", "location", "timeouts"} <= arguments("google_container_cluster")
    assert "node_config" not in arguments("google_pubsub_topic")


def test_nothing_that_is_protected_is_destroyed_with_its_data(stack: Stack, here: Environment) -> None:
    protected = here.deletion_protection

    def faults() -> Iterator[str]:
        for kind, name, resource in stack.resources:
            if kind in PREVENTED and resource.get("lifecycle", {}).get("prevent_destroy") is not protected:
                yield f"{kind}.{name}: prevent_destroy is not {protected}"
            for argument in DESTROYED_WHEN.keys() & arguments(kind):
                # A view has no data, and what expires within a day is nothing to lose.
                kept = protected and not resource.keys() & {"view", "default_table_expiration_ms"}
                expected = DESTROYED_WHEN[argument] is not kept
                if resource.get(argument) is not expected:
                    yield f"{kind}.{name}: {argument} is {resource.get(argument)}, expected {expected}"

    nothing(faults())


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

    nothing(
        path
        for kind, name, each in stack.resources
        for path in empty(each, f"{kind}.{name}")
        if path.rpartition(".")[2] not in allowed
    )
