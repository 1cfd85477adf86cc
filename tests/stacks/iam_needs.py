"""The permissions that the resources of an environment need, and why.

What a resource needs follows from its arguments: a subscription with a BigQuery table needs its service agent
to write there. What code needs follows from its environment variables: a variable that holds the name of a
resource is an edge, and `ACCESS` says what the code does with that resource.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from tests.stacks.iam_graph import BACKENDS, Graph, Permission, UnknownEdgeError

_READ_IMAGES: Final = "roles/artifactregistry.reader"
_READ_OBJECTS: Final = "roles/storage.objectViewer"
_WRITE_OBJECTS: Final = "roles/storage.objectUser"
_READ_ROWS: Final = "roles/bigquery.dataViewer"
_WRITE_ROWS: Final = "roles/bigquery.dataEditor"
_RUN_JOBS: Final = "roles/bigquery.jobUser"
_PUBLISH: Final = "roles/pubsub.publisher"
_SUBSCRIBE: Final = "roles/pubsub.subscriber"
_USE_KEY: Final = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
_ACT_AS: Final = "roles/iam.serviceAccountUser"
_SEE_GRANTS: Final = "roles/iam.securityReviewer"

ACCESS: Final[Mapping[str, Mapping[str, str]]] = {
    "prediction": {"MODEL_BUCKET": _READ_OBJECTS},
    "first-model": {"MODEL_BUCKET": _WRITE_OBJECTS, "SALES_TABLE": _READ_ROWS},
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
"""What code does with the resources that its environment variables name: workload to variable to role."""

_CONNECTIONS: Final[Mapping[str, str]] = {"mail": "smtp_default", "pagerduty": "pagerduty_default"}
"""The Airflow connections that DAGs use, by the channels of `ALERT_CHANNELS`."""

_CI_ROLES: Final[Mapping[str, tuple[str | None, str | None]]] = {
    "google_artifact_registry_": ("artifactregistry.repositories.get", "roles/artifactregistry.admin"),
    "google_bigquery_": ("roles/bigquery.metadataViewer", "roles/bigquery.dataOwner"),
    "google_bigquery_data_transfer_": ("bigquery.transfers.get", "bigquery.transfers.update"),
    "google_billing_budget": (None, None),  # the owner of the billing account grants it there
    "google_binary_authorization_": (
        "roles/binaryauthorization.policyViewer",
        "roles/binaryauthorization.policyEditor",
    ),
    # Only a person may change whose signatures of images count.
    "google_binary_authorization_attestor": (
        "roles/binaryauthorization.attestorsViewer",
        "roles/binaryauthorization.attestorsViewer",
    ),
    "google_container_analysis_": (
        "roles/containeranalysis.notes.viewer",
        "roles/containeranalysis.notes.viewer",
    ),
    "google_certificate_manager_": ("roles/certificatemanager.viewer", "roles/certificatemanager.owner"),
    "google_cloud_quotas_": ("roles/cloudquotas.viewer", "roles/cloudquotas.viewer"),
    "google_composer_": ("composer.environments.get", "roles/composer.admin"),
    "google_compute_": ("roles/compute.viewer", "roles/compute.networkAdmin"),
    "google_compute_region_security_policy": ("roles/compute.viewer", "roles/compute.securityAdmin"),
    "google_compute_region_ssl_policy": ("roles/compute.viewer", "roles/compute.securityAdmin"),
    "google_container_": ("roles/container.viewer", "roles/container.admin"),
    "google_dns_": ("roles/dns.reader", "roles/dns.admin"),
    "google_gke_backup_": ("roles/gkebackup.viewer", "roles/gkebackup.admin"),
    # Only a person may change identity pools, custom roles and accounts.
    "google_iam_workload_identity_": (
        "roles/iam.workloadIdentityPoolViewer",
        "roles/iam.workloadIdentityPoolViewer",
    ),
    # The organization's administrator grants it there; an API that shows tags shows no content.
    "google_iam_deny_policy": (None, None),
    # Only a person may change tags; CI attaches them.
    "google_tags_": ("roles/resourcemanager.tagViewer", "roles/resourcemanager.tagUser"),
    "google_iap_": (None, "roles/iap.admin"),
    "google_kms_": (None, None),  # by grants on the key ring
    "google_logging_project_bucket_config": ("logging.buckets.get", "roles/logging.configWriter"),
    "google_logging_project_exclusion": ("logging.exclusions.get", "roles/logging.configWriter"),
    "google_logging_project_sink": ("logging.sinks.get", "roles/logging.configWriter"),
    "google_logging_": ("logging.logMetrics.get", "roles/logging.configWriter"),
    "google_monitoring_": ("roles/monitoring.viewer", "roles/monitoring.editor"),
    "google_project_default_service_accounts": (
        "roles/iam.serviceAccountViewer",
        "roles/iam.serviceAccountViewer",
    ),
    "google_project_iam_audit_config": (None, "roles/resourcemanager.projectIamAdmin"),
    "google_project_iam_custom_role": ("roles/iam.roleViewer", "roles/iam.roleViewer"),
    "google_project_iam_member": (None, "roles/resourcemanager.projectIamAdmin"),
    "google_project_service": (
        "roles/serviceusage.serviceUsageViewer",
        "roles/serviceusage.serviceUsageAdmin",
    ),
    "google_pubsub_": ("roles/pubsub.viewer", "roles/pubsub.admin"),
    "google_secret_manager_": ("roles/secretmanager.viewer", "secretmanager.secrets.update"),
    "google_service_account": ("roles/iam.serviceAccountViewer", "roles/iam.serviceAccountViewer"),
    "google_storage_": ("storage.buckets.get", "roles/storage.admin"),
    "kubernetes_": ("roles/container.viewer", "roles/container.admin"),
}
"""CI's roles on the project, to see and to change resources, by prefix of their types; the longest counts.

A permission instead of a role is part of the custom role `ciPlan` or `ciApply`: no predefined role has it
without content.
One role, `_SEE_GRANTS`, shows the grants on all types.
"""

_ENCRYPTED: Final = (
    ("gcp-sa-artifactregistry", "google_artifact_registry_repository", "kms_key_name", "images"),
    (
        "container-engine-robot",
        "google_container_cluster",
        "database_encryption.key_name",
        "Secrets of the cluster",
    ),
    (
        "gcp-sa-gkebackup",
        "google_gke_backup_backup_plan",
        "backup_config.encryption_key.gcp_kms_encryption_key",
        "backups of the cluster",
    ),
)
"""Service agent, resource type, argument with the key, and what is encrypted."""

_ACTING: Final = (
    ("google_bigquery_data_transfer_config", "service_account_name"),
    ("google_container_node_pool", "node_config.service_account"),
    ("google_composer_environment", "config.node_config.service_account"),
    ("google_pubsub_subscription", "push_config.oidc_token.service_account_email"),
)
"""Resource types that act as a service account, and the argument that names it."""


_Need = tuple[Permission, str]


def needs(graph: Graph) -> dict[Permission, list[str]]:
    """Every permission that the resources need, and why.

    Raises:
        UnknownEdgeError: an environment variable names a resource and is not in `ACCESS`, or CI has no role
            for a resource type.
    """
    found: defaultdict[Permission, list[str]] = defaultdict(list)
    for rule in (_subscriptions, _pods, _airflow, _nodes, _copies, _readers, _callers, _keys, _ci):
        for permission, reason in rule(graph):
            if reason not in found[permission]:
                found[permission].append(reason)
    return dict(found)


def _subscriptions(graph: Graph) -> Iterator[_Need]:
    """Pub/Sub's service agent forwards dead letters, writes rows and signs push requests."""
    agent = graph.agent("gcp-sa-pubsub")
    for each in graph.all("google_pubsub_subscription"):
        name = each["name"]
        if policy := each.get("dead_letter_policy"):
            topic = policy["dead_letter_topic"].rpartition("/")[2]
            yield Permission(agent, _PUBLISH, "topic", topic), f"forwards what `{name}` cannot deliver"
            yield Permission(agent, _SUBSCRIBE, "subscription", name), "takes forwarded messages out of it"
        if config := each.get("bigquery_config"):
            table = config["table"].partition(".")[2]
            yield Permission(agent, _WRITE_ROWS, "table", table), f"writes messages of `{name}`"
        if push := each.get("push_config"):
            account = push["oidc_token"]["service_account_email"]
            role = "roles/iam.serviceAccountTokenCreator"
            yield Permission(agent, role, "account", account), f"signs what `{name}` pushes"


def _pods(graph: Graph) -> Iterator[_Need]:
    """Pods use what their environment variables name."""
    for each in (*graph.all("kubernetes_deployment_v1"), *graph.all("kubernetes_job_v1")):
        pod = each["spec"]["template"]["spec"]
        member = graph.pod(each["metadata"]["namespace"], pod["service_account_name"])
        if "SALES_TABLE" in str(pod):
            yield graph.on_project(member, _RUN_JOBS), "queries a table; jobs belong to the project"
        for container in pod["container"]:
            variables = {variable["name"]: variable.get("value", "") for variable in container["env"]}
            yield from _code(graph, each["metadata"]["name"], member, variables)


def _airflow(graph: Graph) -> Iterator[_Need]:
    """Airflow uses its buckets and starts steps, which use the resources of the pipeline."""
    for each in graph.all("google_composer_environment"):
        config = each["config"]
        member = f"serviceAccount:{config['node_config']['service_account']}"
        worker = graph.on_project(member, "roles/composer.worker")
        yield worker, "runs Airflow; Composer checks for it on the project"
        dags = each["storage_config"]["bucket"]
        yield Permission(member, _WRITE_OBJECTS, "bucket", dags), "reads DAG files, writes logs"
        location = config["recovery_config"]["scheduled_snapshots_config"]["snapshot_location"]
        snapshots = location.removeprefix("gs://").partition("/")[0]
        yield Permission(member, _WRITE_OBJECTS, "bucket", snapshots), "writes snapshots"
        software = config["software_config"]
        backend = json.loads(software["airflow_config_overrides"]["secrets-backend_kwargs"])
        for channel in software["env_variables"]["ALERT_CHANNELS"].split(","):
            secret = f"{backend['connections_prefix']}-{_CONNECTIONS[channel]}"
            role = "roles/secretmanager.secretAccessor"
            yield Permission(member, role, "secret", secret), f"sends alerts by {channel}"
        yield from _steps(graph, member, software["env_variables"])


def _steps(graph: Graph, airflow: str, variables: Mapping[str, str]) -> Iterator[_Need]:
    """Airflow's tasks start pods and Dataflow jobs, which use what its environment variables name."""
    account = variables["DATAFLOW_ACCOUNT"]
    workers = f"serviceAccount:{account}"
    pods = graph.pod(variables["STEPS_NAMESPACE"], variables["STEPS_ACCOUNT"])
    starter = variables["STEPS_STARTER"]
    sign_in = Permission(airflow, "roles/iam.serviceAccountTokenCreator", "account", starter)
    yield sign_in, "starts pods as that account"
    reach = graph.on_project(f"serviceAccount:{starter}", "roles/container.viewer")
    yield reach, "reaches the cluster to start pods in"
    yield graph.on_project(airflow, "roles/dataflow.developer"), "starts jobs; they belong to the project"
    yield Permission(airflow, _ACT_AS, "account", account), "names their workers"
    yield graph.on_project(workers, "roles/dataflow.worker"), "takes work; jobs belong to the project"
    for name in graph.repositories(variables["STEPS_IMAGE"]):
        yield Permission(workers, _READ_IMAGES, "repository", name), "pulls the image of workers"
    known = {name: value for name, value in variables.items() if name in ACCESS["Dataflow"]}
    yield from _code(graph, "Dataflow", workers, known)
    rest = {"DATAFLOW_TEMPLATE"}  # Dataflow itself reads it
    yield from _code(graph, "batch", pods, {name: variables[name] for name in variables.keys() - rest})
    for member in (pods, workers):
        yield graph.on_project(member, _RUN_JOBS), "loads and queries tables; jobs belong to the project"


def _nodes(graph: Graph) -> Iterator[_Need]:
    """Nodes write logs and metrics, and pull the images of pods."""
    images = {
        container["image"]
        for each in (*graph.all("kubernetes_deployment_v1"), *graph.all("kubernetes_job_v1"))
        for container in each["spec"]["template"]["spec"]["container"]
    }
    repositories = {name for image in images for name in graph.repositories(image)}
    for account in graph.values("google_container_node_pool", "node_config.service_account"):
        member = f"serviceAccount:{account}"
        role = graph.on_project(member, "roles/container.defaultNodeServiceAccount")
        yield role, "writes logs and metrics, which belong to the project"
        for name in repositories:
            yield Permission(member, _READ_IMAGES, "repository", name), "pulls the images of pods"


def _copies(graph: Graph) -> Iterator[_Need]:
    """An account reads datasets, replaces their copies, and starts doing so."""
    roles = f"projects/{graph.environment.project_id}/roles"
    for each in graph.all("google_bigquery_data_transfer_config"):
        member = f"serviceAccount:{each['service_account_name']}"
        source, copy = each["params"]["source_dataset_id"], each["destination_dataset_id"]
        yield Permission(member, _READ_ROWS, "dataset", source), f"copies it to `{copy}`"
        yield Permission(member, f"{roles}/copyReplacer", "dataset", copy), f"copies `{source}` to it"
        yield graph.on_project(member, f"{roles}/copyStarter"), "starts copies; jobs belong to the project"


def _readers(graph: Graph) -> Iterator[_Need]:
    """People read all datasets except those for rows in transit and copies."""
    copies = [*graph.values("google_bigquery_data_transfer_config", "destination_dataset_id")]
    for member in graph.environment.data.readers:
        for dataset in graph.all("google_bigquery_dataset"):
            if not dataset.get("default_table_expiration_ms") and dataset["dataset_id"] not in copies:
                yield (
                    Permission(member, _READ_ROWS, "dataset", dataset["dataset_id"]),
                    "named in `data.readers`",
                )


def _callers(graph: Graph) -> Iterator[_Need]:
    """People pass Identity-Aware Proxy if a backend enables it."""
    policies = [each["manifest"] for each in graph.all("kubernetes_manifest")]
    guarded = any(
        each["kind"] == "GCPBackendPolicy" and each["spec"]["default"].get("iap", {}).get("enabled")
        for each in policies
    )
    gateway = graph.environment.gateway
    for member in gateway.iap_members if gateway and guarded else ():
        role = "roles/iap.httpsResourceAccessor"
        yield Permission(member, role, *BACKENDS), "named in `gateway.iap_members`"


def _keys(graph: Graph) -> Iterator[_Need]:
    """Service agents encrypt and decrypt what their services keep."""
    for agent, kind, path, content in _ENCRYPTED:
        for key in graph.values(kind, path):
            name = key.partition("/keyRings/")[2]
            yield Permission(graph.agent(agent), _USE_KEY, "key", name), f"encrypts {content}"


def _ci(graph: Graph) -> Iterator[_Need]:
    """CI plans and applies all stacks, and has no other permission."""
    ci = graph.environment.ci
    if ci is None:
        return
    project = graph.environment.project_id
    accounts = {
        access: f"sales-forecast-ci-{access}@{project}.iam.gserviceaccount.com"
        for access in ("plan", "apply")
    }
    plan, apply = (f"serviceAccount:{account}" for account in accounts.values())
    for access, account in accounts.items():
        workflows = f"principalSet://iam.googleapis.com/{graph.pool(ci.issuer)}/attribute.access/{access}"
        role = "roles/iam.workloadIdentityUser"
        yield Permission(workflows, role, "account", account), f"are workflows that may {access}"
    states = f"{project}-tfstate"
    yield Permission(plan, _READ_OBJECTS, "bucket", states), "reads Terraform's states"
    yield Permission(apply, _WRITE_OBJECTS, "bucket", states), "reads and writes Terraform's states"
    yield graph.on_project(plan, _SEE_GRANTS), "sees grants"
    if "registry" in graph.environment.stacks:
        yield graph.on_project(apply, "roles/artifactregistry.admin"), "pushes images from `main`"
    yield from _ci_resources(graph, plan, apply)
    if any("condition_matched_log" in str(each) for each in graph.all("google_monitoring_alert_policy")):
        yield graph.on_project(apply, "roles/logging.configWriter"), "changes alerts on logs"
    if "services" in graph.environment.stacks:
        yield graph.on_project(apply, "roles/bigquery.jobUser"), "`scripts/verify` asks for rows"
    for ring in graph.values("google_kms_key_ring", "name"):
        yield Permission(plan, "roles/cloudkms.viewer", "key ring", ring), "sees it and its key"
        if ring.endswith("-images"):
            yield Permission(apply, "roles/cloudkms.viewer", "key ring", ring), "sees it and its key"
            key = Permission(apply, "roles/cloudkms.signerVerifier", "key", f"{ring}/cryptoKeys/signing")
            yield key, "signs the images that it pushes"
        else:
            yield Permission(apply, "roles/cloudkms.admin", "key ring", ring), "changes who uses its key"
    for note in graph.values("google_container_analysis_note", "name"):
        attach = Permission(apply, "roles/containeranalysis.notes.attacher", "note", note)
        yield attach, "signs the images that it pushes"
        stores = graph.on_project(apply, "roles/containeranalysis.occurrences.editor")
        yield stores, "stores the signatures of images, which belong to the project"
    for kind, path in _ACTING:
        for account in graph.values(kind, path):
            yield Permission(apply, _ACT_AS, "account", account), f"makes `{kind}`, which acts as it"
    for bucket in graph.values("google_composer_environment", "storage_config.bucket"):
        yield Permission(plan, _READ_OBJECTS, "bucket", bucket), "sees DAG files"


def _ci_resources(graph: Graph, plan: str, apply: str) -> Iterator[_Need]:
    """CI sees and changes every type of resource by a role on the project."""
    for kind in sorted({kind for kind, _, _ in graph.resources}):
        prefix = max((each for each in _CI_ROLES if kind.startswith(each)), key=len, default=None)
        if prefix is None:
            raise UnknownEdgeError(f"{kind}: _CI_ROLES does not say how CI sees and changes it")
        sees, changes = _CI_ROLES[prefix]
        custom = f"projects/{graph.environment.project_id}/roles/ci"
        if sees:
            role = sees if sees.startswith("roles/") else f"{custom}Plan"
            yield graph.on_project(plan, role), f"sees `{prefix}*`"
        if changes:
            verb = "sees" if changes == sees else "changes"
            role = changes if changes.startswith("roles/") else f"{custom}Apply"
            yield graph.on_project(apply, role), f"{verb} `{prefix}*`"


def _code(graph: Graph, workload: str, member: str, variables: Mapping[str, str]) -> Iterator[_Need]:
    """Code uses the resources that its environment variables name."""
    known = ACCESS.get(workload, {})
    for variable, value in variables.items():
        for kind, name in _resources(graph, value):
            if variable not in known:
                raise UnknownEdgeError(f"{workload}: {variable} names the {kind} {name}; add it to ACCESS")
            yield Permission(member, known[variable], kind, name), f"`{variable}` of {workload}"


def _resources(graph: Graph, value: str) -> Iterator[tuple[str, str]]:
    """Kind and name of the environment's resources that an environment variable names."""
    project = re.escape(graph.environment.project_id)
    buckets = {*graph.values("google_storage_bucket", "name")}
    # Pub/Sub pushes these to the service, which does not pull.
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
