"""Who may do what, and why: the grants of an environment held against what its resources need: `make docs`.

Both are read off the synthesized stacks. What a resource needs follows from its arguments (a subscription
with a BigQuery table needs its service agent to write there) or, for what runs code, from its environment
variables: one that holds the name of a resource is an edge, and `ACCESS` says what the code does along it. A
grant without a need and a need without a grant are faults.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from infra import environment
from infra.environment import Environment
from scripts.paths import ROOT

DOCUMENT: Final = ROOT / "docs" / "iam.md"

DOCUMENTED: Final = "prod"
"""The environment that the document shows: it has every stack."""

_INTRODUCTION: Final = """\
# Who may do what

Every grant of `prod`, and the need that it is for. `make docs` writes this table from the stacks; tests hold
the grants of every environment against what its resources need: none is missing, none is left over.

- A grant is on the resource itself where that has a policy of its own, never on the project. Those on the
  project are for what belongs to it alone; `tests/stacks/test_every_resource.py` has their reasons.
- Nobody has a key. Pods are Workload Identity principals, CI is federated, Google's services act as their own
  service agents (`service-NUMBER`).
- `roles/composer.worker`, which Composer insists on, reaches the objects of all buckets of the project. The
  grants on single buckets say what Airflow uses, and stay when Google narrows the role.
- With `streaming.delivery = "push"` the pods of `streaming` lose the subscription. Pub/Sub's service agent
  may then sign tokens as `sales-forecast-push`, and as nobody else; that account may do nothing.
"""

_READ_IMAGES: Final = "roles/artifactregistry.reader"
_READ_OBJECTS: Final = "roles/storage.objectViewer"
_WRITE_OBJECTS: Final = "roles/storage.objectUser"
_READ_ROWS: Final = "roles/bigquery.dataViewer"
_WRITE_ROWS: Final = "roles/bigquery.dataEditor"
_RUN_JOBS: Final = "roles/bigquery.jobUser"
_PUBLISH: Final = "roles/pubsub.publisher"
_SUBSCRIBE: Final = "roles/pubsub.subscriber"

_USE_KEY: Final = "roles/cloudkms.cryptoKeyEncrypterDecrypter"

ACCESS: Final[Mapping[str, Mapping[str, str]]] = {
    "prediction": {"MODEL_BUCKET": _READ_OBJECTS},
    "streaming": {
        "MODEL_BUCKET": _READ_OBJECTS,
        "SUBSCRIPTION": _SUBSCRIBE,
        "REPLY_TOPIC": _PUBLISH,
        "REPLY_TOPICS": _PUBLISH,
        "DEAD_LETTER_TOPIC": _PUBLISH,
        "PREDICTIONS_TABLE": _WRITE_ROWS,
    },
    "batch": {
        "MODEL_BUCKET": _WRITE_OBJECTS,
        "STAGING_BUCKET": _WRITE_OBJECTS,
        "SALES_TABLE": _WRITE_ROWS,
        "SCORES_TABLE": _WRITE_ROWS,
        "TRANSIENT_SCORES_TABLE": _WRITE_ROWS,
        "STAGING_DATASET": _WRITE_ROWS,
    },
    "Dataflow": {
        "MODEL_BUCKET": _READ_OBJECTS,
        "STAGING_BUCKET": _WRITE_OBJECTS,
        "SALES_TABLE": _READ_ROWS,
        "SCORES_TABLE": _WRITE_ROWS,
        "STAGING_DATASET": _WRITE_ROWS,
    },
}
"""What code does with the resources that its environment variables name: variable to role, by who runs it."""

_CONNECTIONS: Final[Mapping[str, str]] = {"mail": "smtp_default", "pagerduty": "pagerduty_default"}
"""The Airflow connections that DAGs use, by the channels of `ALERT_CHANNELS`."""

MANAGED: Final[Mapping[str, tuple[str | None, str | None]]] = {
    "google_artifact_registry_": ("artifactregistry.repositories.get", "roles/artifactregistry.admin"),
    "google_bigquery_": ("roles/bigquery.metadataViewer", "roles/bigquery.dataOwner"),
    "google_billing_budget": (None, None),  # of the billing account: its owner lets CI in there
    "google_binary_authorization_": (
        "roles/binaryauthorization.policyViewer",
        "roles/binaryauthorization.policyEditor",
    ),
    "google_certificate_manager_": ("roles/certificatemanager.viewer", "roles/certificatemanager.owner"),
    "google_composer_": ("composer.environments.get", "roles/composer.admin"),
    "google_compute_": ("roles/compute.viewer", "roles/compute.networkAdmin"),
    "google_compute_region_security_policy": ("roles/compute.viewer", "roles/compute.securityAdmin"),
    "google_compute_region_ssl_policy": ("roles/compute.viewer", "roles/compute.securityAdmin"),
    "google_container_": ("roles/container.viewer", "roles/container.admin"),
    "google_dns_": ("roles/dns.reader", "roles/dns.admin"),
    "google_gke_backup_": ("roles/gkebackup.viewer", "roles/gkebackup.admin"),
    "google_iam_workload_identity_": (  # a person changes it
        "roles/iam.workloadIdentityPoolViewer",
        "roles/iam.workloadIdentityPoolViewer",
    ),
    "google_iap_": (None, "roles/iap.admin"),
    "google_kms_": (None, None),  # by grants on the key ring
    "google_logging_": ("logging.logMetrics.get", "roles/logging.configWriter"),
    "google_monitoring_": ("roles/monitoring.viewer", "roles/monitoring.editor"),
    # a person changes it
    "google_project_iam_custom_role": ("roles/iam.roleViewer", "roles/iam.roleViewer"),
    "google_project_iam_member": (None, "roles/resourcemanager.projectIamAdmin"),
    "google_project_service": (
        "roles/serviceusage.serviceUsageViewer",
        "roles/serviceusage.serviceUsageAdmin",
    ),
    "google_pubsub_": ("roles/pubsub.viewer", "roles/pubsub.admin"),
    "google_secret_manager_": ("roles/secretmanager.viewer", "roles/secretmanager.admin"),
    "google_service_account": ("roles/iam.serviceAccountViewer", "roles/iam.serviceAccountAdmin"),
    "google_storage_": ("storage.buckets.get", "roles/storage.admin"),
    "kubernetes_": ("roles/container.viewer", "roles/container.admin"),
}
"""What CI takes on the project to see, and to change, resources whose types begin so; the longest counts.

It is a role, or a permission of the role that is made for what has none without content. Roles that see
grants are the same for all types.
"""
_SEE_GRANTS: Final = "roles/iam.securityReviewer"


@dataclasses.dataclass(frozen=True, order=True)
class Permission:
    """A role of somebody on one resource.

    Attributes:
        member: who, as IAM calls him.
        role: what he may do.
        on: kind and name of the resource.
    """

    member: str
    role: str
    on: tuple[str, str]

    def __str__(self) -> str:
        return f"{self.member}: {self.role} on {' '.join(self.on)}"


class UnknownEdgeError(Exception):
    """Something refers to a resource, or grants something, in a way that no rule here covers."""


@dataclasses.dataclass(frozen=True)
class Graph:
    """The resources of all stacks of one environment: type, address and arguments of each."""

    environment: Environment
    resources: tuple[tuple[str, str, Mapping[str, Any]], ...]

    @classmethod
    def read(cls, here: Environment, folder: Path) -> "Graph":
        """From the folder that cdktf's app wrote."""
        found: list[tuple[str, str, Mapping[str, Any]]] = []
        for stack in here.stacks:
            text = (folder / "stacks" / f"{here.name}-{stack}" / "cdk.tf.json").read_text(encoding="utf-8")
            for kind, named in json.loads(text)["resource"].items():
                found += [(kind, f"{stack}: {kind}.{name}", each) for name, each in named.items()]
        return cls(here, tuple(found))

    def all(self, kind: str) -> Iterator[Mapping[str, Any]]:
        """The arguments of the resources of a type."""
        return (each for type_, _, each in self.resources if type_ == kind)

    @property
    def pubsub(self) -> str:
        """Pub/Sub's service agent."""
        number = self.environment.project_number
        return f"serviceAccount:service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"


_GRANTS: Final[Mapping[str, tuple[str, str]]] = {
    "google_artifact_registry_repository_iam_member": ("repository", "{repository}"),
    "google_bigquery_dataset_iam_member": ("dataset", "{dataset_id}"),
    "google_bigquery_table_iam_member": ("table", "{dataset_id}.{table_id}"),
    "google_iap_web_iam_member": ("backends", "behind Identity-Aware Proxy"),
    "google_kms_crypto_key_iam_member": ("key", "{crypto_key_id}"),
    "google_kms_key_ring_iam_member": ("key ring", "{key_ring_id}"),
    "google_project_iam_member": ("project", "{project}"),
    "google_pubsub_subscription_iam_member": ("subscription", "{subscription}"),
    "google_pubsub_topic_iam_member": ("topic", "{topic}"),
    "google_secret_manager_secret_iam_member": ("secret", "{secret_id}"),
    "google_service_account_iam_member": ("account", "{service_account_id}"),
    "google_storage_bucket_iam_member": ("bucket", "{bucket}"),
}
"""Of each resource type that grants something: the kind of what it is granted on, and its name."""


def grants(graph: Graph) -> dict[Permission, list[str]]:
    """What is granted, and where.

    Raises:
        UnknownEdgeError: a resource type of IAM is not known here.
    """
    found: defaultdict[Permission, list[str]] = defaultdict(list)
    for kind, address, each in graph.resources:
        if not re.search(r"_iam_(member|binding|policy)$", kind):
            continue
        if kind not in _GRANTS:
            raise UnknownEdgeError(f"{address}: no rule for grants of this type")
        on, name = _GRANTS[kind]
        resource = re.sub(".*/(serviceAccounts|keyRings|cryptoKeys)/", "", name.format_map(each))
        found[Permission(each["member"], each["role"], (on, resource))].append(address)
    return dict(found)


def needs(graph: Graph) -> dict[Permission, list[str]]:
    """What is needed, and why.

    Raises:
        UnknownEdgeError: an environment variable names a resource, and `ACCESS` does not say what for.
    """
    found: defaultdict[Permission, list[str]] = defaultdict(list)
    for rule in (_subscriptions, _pods, _airflow, _nodes, _readers, _callers, _keys, _ci):
        for permission, reason in rule(graph):
            if reason not in found[permission]:
                found[permission].append(reason)
    return dict(found)


def faults(needed: Mapping[Permission, list[str]], granted: Mapping[Permission, list[str]]) -> list[str]:
    """Everything that is not granted exactly once for a need."""
    missing = [f"missing: {each}, for {'; '.join(needed[each])}" for each in needed if each not in granted]
    unused = [f"unused: {each} ({', '.join(granted[each])})" for each in granted if each not in needed]
    twice = [f"twice: {each} ({', '.join(where)})" for each, where in granted.items() if len(where) > 1]
    return sorted(missing + unused + twice)


_Need = tuple[Permission, str]


def _subscriptions(graph: Graph) -> Iterator[_Need]:
    """Pub/Sub's service agent does what subscriptions say."""
    for each in graph.all("google_pubsub_subscription"):
        name = each["name"]
        if policy := each.get("dead_letter_policy"):
            topic = policy["dead_letter_topic"].rpartition("/")[2]
            yield (
                Permission(graph.pubsub, _PUBLISH, ("topic", topic)),
                f"forwards what `{name}` cannot deliver",
            )
            yield (
                Permission(graph.pubsub, _SUBSCRIBE, ("subscription", name)),
                "takes forwarded messages out of it",
            )
        if config := each.get("bigquery_config"):
            table = config["table"].partition(".")[2]
            yield Permission(graph.pubsub, _WRITE_ROWS, ("table", table)), f"writes messages of `{name}`"
        if push := each.get("push_config"):
            account = push["oidc_token"]["service_account_email"]
            yield (
                Permission(graph.pubsub, "roles/iam.serviceAccountTokenCreator", ("account", account)),
                f"signs what `{name}` pushes",
            )


def _pods(graph: Graph) -> Iterator[_Need]:
    """Pods use what their environment variables name."""
    for each in graph.all("kubernetes_deployment_v1"):
        pod = each["spec"]["template"]["spec"]
        member = _pod_member(graph, each["metadata"]["namespace"], pod["service_account_name"])
        for container in pod["container"]:
            variables = {variable["name"]: variable.get("value", "") for variable in container["env"]}
            yield from _code(graph, each["metadata"]["name"], member, variables)


def _pod_member(graph: Graph, namespace: str, account: str) -> str:
    """Who pods are that run as a service account."""
    here = graph.environment
    pool = (
        f"projects/{here.project_number}/locations/global/workloadIdentityPools/{here.project_id}.svc.id.goog"
    )
    return f"principal://iam.googleapis.com/{pool}/subject/ns/{namespace}/sa/{account}"


def _airflow(graph: Graph) -> Iterator[_Need]:
    """Airflow uses its buckets; what its tasks use is the business of the steps that they start."""
    for each in graph.all("google_composer_environment"):
        config = each["config"]
        member = f"serviceAccount:{config['node_config']['service_account']}"
        yield (
            Permission(member, "roles/composer.worker", ("project", graph.environment.project_id)),
            "runs Airflow; Composer checks for it on the project",
        )
        schedule = config["recovery_config"]["scheduled_snapshots_config"]
        for bucket, reason in (
            (each["storage_config"]["bucket"], "reads DAG files, writes logs"),
            (schedule["snapshot_location"].removeprefix("gs://").partition("/")[0], "writes snapshots"),
        ):
            yield Permission(member, _WRITE_OBJECTS, ("bucket", bucket)), reason
        software = config["software_config"]
        prefix = json.loads(software["airflow_config_overrides"]["secrets-backend_kwargs"])[
            "connections_prefix"
        ]
        for channel in software["env_variables"]["ALERT_CHANNELS"].split(","):
            connection = _CONNECTIONS[channel]
            yield (
                Permission(
                    member, "roles/secretmanager.secretAccessor", ("secret", f"{prefix}-{connection}")
                ),
                f"tells people by {channel}",
            )
        yield from _steps(graph, member, software["env_variables"])


def _steps(graph: Graph, airflow: str, variables: Mapping[str, str]) -> Iterator[_Need]:
    """Airflow starts pods and jobs of Dataflow, which use what its environment variables name."""
    project = ("project", graph.environment.project_id)
    account = variables["DATAFLOW_ACCOUNT"]
    workers = f"serviceAccount:{account}"
    pods = _pod_member(graph, variables["STEPS_NAMESPACE"], variables["STEPS_ACCOUNT"])
    yield Permission(airflow, "roles/container.viewer", project), "reaches the cluster to start pods in"
    yield Permission(airflow, "roles/dataflow.developer", project), "starts jobs; they belong to the project"
    yield Permission(airflow, "roles/iam.serviceAccountUser", ("account", account)), "names their workers"
    yield Permission(workers, "roles/dataflow.worker", project), "takes work; jobs belong to the project"
    for repository in graph.all("google_artifact_registry_repository"):
        name = repository["repository_id"]
        if f"/{graph.environment.project_id}/{name}/" in variables["STEPS_IMAGE"]:
            yield Permission(workers, _READ_IMAGES, ("repository", name)), "pulls the image of workers"
    told = {key: value for key, value in variables.items() if key in ACCESS["Dataflow"]}
    yield from _code(graph, "Dataflow", workers, told)
    rest = {"DATAFLOW_TEMPLATE"}  # the service reads it for Airflow
    yield from _code(graph, "batch", pods, {key: variables[key] for key in variables.keys() - rest})
    for member in (pods, workers):
        yield Permission(member, _RUN_JOBS, project), "loads and queries tables; jobs belong to the project"


def _nodes(graph: Graph) -> Iterator[_Need]:
    """Nodes write logs and metrics, and pull the images of pods."""
    images = {
        container["image"]
        for each in graph.all("kubernetes_deployment_v1")
        for container in each["spec"]["template"]["spec"]["container"]
    }
    for each in graph.all("google_container_node_pool"):
        member = f"serviceAccount:{each['node_config']['service_account']}"
        yield (
            Permission(
                member, "roles/container.defaultNodeServiceAccount", ("project", graph.environment.project_id)
            ),
            "writes logs and metrics, which belong to the project",
        )
        for repository in graph.all("google_artifact_registry_repository"):
            name = repository["repository_id"]
            if any(f"/{graph.environment.project_id}/{name}/" in image for image in images):
                yield (
                    Permission(member, _READ_IMAGES, ("repository", name)),
                    "pulls the images of pods",
                )


def _readers(graph: Graph) -> Iterator[_Need]:
    """People read the datasets, but for rows that are on their way."""
    for member in graph.environment.data.readers:
        for dataset in graph.all("google_bigquery_dataset"):
            if dataset.get("default_table_expiration_ms"):
                continue
            yield (
                Permission(member, _READ_ROWS, ("dataset", dataset["dataset_id"])),
                "named in `data.readers`",
            )


def _callers(graph: Graph) -> Iterator[_Need]:
    """People pass Identity-Aware Proxy where a backend has it switched on."""
    policies = [each["manifest"] for each in graph.all("kubernetes_manifest")]
    guarded = any(
        each["kind"] == "GCPBackendPolicy" and each["spec"]["default"].get("iap", {}).get("enabled")
        for each in policies
    )
    gateway = graph.environment.gateway
    for member in gateway.iap_members if gateway and guarded else ():
        yield (
            Permission(
                member, "roles/iap.httpsResourceAccessor", ("backends", "behind Identity-Aware Proxy")
            ),
            "named in `gateway.iap_members`",
        )


def _keys(graph: Graph) -> Iterator[_Need]:
    """Service agents encrypt and decrypt what their services keep."""
    number = graph.environment.project_number
    for agent, kind, path, what in (
        ("gcp-sa-artifactregistry", "google_artifact_registry_repository", ["kms_key_name"], "images"),
        (
            "container-engine-robot",
            "google_container_cluster",
            ["database_encryption", "key_name"],
            "Secrets of the cluster",
        ),
        (
            "gcp-sa-gkebackup",
            "google_gke_backup_backup_plan",
            ["backup_config", "encryption_key", "gcp_kms_encryption_key"],
            "backups of the cluster",
        ),
    ):
        for key in filter(None, (_at(each, *path) for each in graph.all(kind))):
            member = f"serviceAccount:service-{number}@{agent}.iam.gserviceaccount.com"
            yield Permission(member, _USE_KEY, ("key", key.rpartition("/")[2])), f"encrypts {what}"


def _at(arguments: Mapping[str, Any], *path: str) -> Any:
    """The argument at a path of names; None if it is not set."""
    value: Any = arguments
    for name in path:
        value = value.get(name) if value else None
    return value


def _ci(graph: Graph) -> Iterator[_Need]:
    """CI plans and applies all there is, and nothing else."""
    here = graph.environment
    if here.ci is None:
        return
    project = ("project", here.project_id)
    emails = {
        access: f"sales-forecast-ci-{access}@{here.project_id}.iam.gserviceaccount.com"
        for access in ("plan", "apply")
    }
    plan, apply = (f"serviceAccount:{emails[access]}" for access in ("plan", "apply"))
    pool = f"projects/{here.project_number}/locations/global/workloadIdentityPools/github"
    for access, email in emails.items():
        yield (
            Permission(
                f"principalSet://iam.googleapis.com/{pool}/attribute.access/{access}",
                "roles/iam.workloadIdentityUser",
                ("account", email),
            ),
            f"are workflows that may {access}",
        )
    states = ("bucket", f"{here.project_id}-tfstate")
    yield Permission(plan, _READ_OBJECTS, states), "reads Terraform's states"
    yield Permission(apply, _WRITE_OBJECTS, states), "reads and writes Terraform's states"
    yield Permission(plan, _SEE_GRANTS, project), "sees grants"
    for kind in sorted({kind for kind, _, _ in graph.resources}):
        begins = max((each for each in MANAGED if kind.startswith(each)), key=len, default=None)
        if begins is None:
            raise UnknownEdgeError(f"{kind}: MANAGED does not say how CI sees and changes it")
        sees, changes = MANAGED[begins]
        if sees:
            role = sees if sees.startswith("roles/") else f"projects/{here.project_id}/roles/ciPlan"
            yield Permission(plan, role, project), f"sees `{begins}*`"
        if changes:
            verb = "sees" if changes == sees else "changes"
            yield Permission(apply, changes, project), f"{verb} `{begins}*`"
    if any("condition_matched_log" in str(each) for each in graph.all("google_monitoring_alert_policy")):
        yield Permission(apply, "roles/logging.configWriter", project), "changes alerts on logs"
    for ring in graph.all("google_kms_key_ring"):
        yield Permission(plan, "roles/cloudkms.viewer", ("key ring", ring["name"])), "sees it and its key"
        yield (
            Permission(apply, "roles/cloudkms.admin", ("key ring", ring["name"])),
            "changes who uses its key",
        )
    for repository in graph.all("google_artifact_registry_repository"):
        yield (
            Permission(apply, "roles/artifactregistry.writer", ("repository", repository["repository_id"])),
            "pushes images",
        )
    for kind, path in (
        ("google_container_node_pool", ["node_config", "service_account"]),
        ("google_composer_environment", ["config", "node_config", "service_account"]),
        ("google_pubsub_subscription", ["push_config", "oidc_token", "service_account_email"]),
    ):
        for account in filter(None, (_at(each, *path) for each in graph.all(kind))):
            yield (
                Permission(apply, "roles/iam.serviceAccountUser", ("account", account)),
                f"makes `{kind}`, which acts as it",
            )
    for each in graph.all("google_composer_environment"):
        yield Permission(plan, _READ_OBJECTS, ("bucket", each["storage_config"]["bucket"])), "sees DAG files"


def _code(graph: Graph, who: str, member: str, variables: Mapping[str, str]) -> Iterator[_Need]:
    known = ACCESS.get(who, {})
    for variable, value in variables.items():
        for kind, resource in _resources(graph, value):
            if variable not in known:
                raise UnknownEdgeError(f"{who}: {variable} names the {kind} {resource}; add it to ACCESS")
            yield Permission(member, known[variable], (kind, resource)), f"`{variable}` of {who}"


def _resources(graph: Graph, value: str) -> Iterator[tuple[str, str]]:
    """The resources of the environment that an environment variable names, kind and name."""
    project = re.escape(graph.environment.project_id)
    buckets = {each["name"] for each in graph.all("google_storage_bucket")}
    # Pub/Sub sends a service what it pushes: nobody takes it from the subscription.
    pushed = {each["name"] for each in graph.all("google_pubsub_subscription") if each.get("push_config")}
    for part in value.split(","):
        if part in buckets:
            yield "bucket", part
        elif found := re.fullmatch(rf"projects/{project}/(topic|subscription)s/([^/]+)", part):
            if found[2] not in pushed or found[1] == "topic":
                yield found[1], found[2]
        elif found := re.fullmatch(rf"{project}\.([^.]+\.[^.]+)", part):
            yield "table", found[1]
        elif found := re.fullmatch(rf"{project}\.([^.]+)", part):
            yield "dataset", found[1]


def render(graph: Graph) -> str:
    """The table of an environment, in Markdown, with neither its project's id nor its number."""
    needed = needs(graph)
    lines = ["| who | may | on | because it |", "|---|---|---|---|"]
    for permission in sorted(needed):
        kind, name = permission.on
        reason = "; ".join(needed[permission])
        lines.append(f"| {_short(permission.member)} | `{permission.role}` | {kind} `{name}` | {reason} |")
    text = "\n".join(lines)
    here = graph.environment
    return text.replace(here.project_id, "PROJECT").replace(str(here.project_number), "NUMBER")


def _short(member: str) -> str:
    if found := re.search(r"/subject/ns/([^/]+)/sa/([^/]+)$", member):
        return f"pods of `{found[2]}`"
    if found := re.search(r"/attribute\.access/([a-z]+)$", member):
        return f"GitHub workflows, `{found[1]}`"
    if found := re.search(r":service-\d+@(gcp-sa-)?([a-z-]+)\.", member):
        return f"service agent of `{found[2]}`"
    return f"`{member.partition(':')[2].partition('@')[0]}`"


def document(graph: Graph) -> str:
    """The whole of `docs/iam.md`."""
    return f"{_INTRODUCTION}\n{render(graph)}\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the document; returns the exit status: 1 for grants that are missing, unused or made twice."""
    argparse.ArgumentParser(prog="python -m scripts.deploy.iam", description=__doc__).parse_args(arguments)
    here = environment.load(DOCUMENTED)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "stacks"],
            cwd=ROOT,
            env=os.environ | {"PLATFORM_ENV": here.name, "CDKTF_OUTDIR": folder},
            check=True,
        )
        graph = Graph.read(here, Path(folder))
    found = faults(needs(graph), grants(graph))
    print("\n".join(found) or f"{len(grants(graph))} grants, each needed: {DOCUMENT.relative_to(ROOT)}")
    DOCUMENT.write_text(document(graph), encoding="utf-8")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
