"""Checks that depend on other resources, which show a missing `depends_on`, as Google would.

They use only the inventory of this simulated cloud. Permissions of Terraform's user are not checked.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from infra.simulator import inventory, plugin
from infra.simulator.computed import IDS
from infra.simulator.resources import ResourceError, Values
from infra.simulator.terraform import items

# Type -> argument -> type of the resource that the argument names. Where both resources are in an emulator,
# the emulator checks.
_REFERENCES: Final[Mapping[str, Mapping[str, str]]] = {
    "google_artifact_registry_repository_iam_member": {"repository": "google_artifact_registry_repository"},
    "google_bigquery_data_transfer_config": {"destination_dataset_id": "google_bigquery_dataset"},
    "google_bigquery_dataset_iam_member": {"dataset_id": "google_bigquery_dataset"},
    "google_bigquery_table_iam_member": {"table_id": "google_bigquery_table"},
    "google_compute_router": {"network": "google_compute_network"},
    "google_compute_router_nat": {"router": "google_compute_router"},
    "google_compute_subnetwork": {"network": "google_compute_network"},
    "google_container_cluster": {
        "network": "google_compute_network",
        "subnetwork": "google_compute_subnetwork",
    },
    "google_container_node_pool": {"cluster": "google_container_cluster"},
    "google_iam_workload_identity_pool_provider": {
        "workload_identity_pool_id": "google_iam_workload_identity_pool"
    },
    "google_kms_crypto_key_iam_member": {"crypto_key_id": "google_kms_crypto_key"},
    "google_pubsub_subscription_iam_member": {"subscription": "google_pubsub_subscription"},
    "google_pubsub_topic_iam_member": {"topic": "google_pubsub_topic"},
    "google_secret_manager_secret_iam_member": {"secret_id": "google_secret_manager_secret"},
    "google_service_account_iam_member": {"service_account_id": "google_service_account"},
    "google_storage_bucket_iam_member": {"bucket": "google_storage_bucket"},
}
# Type -> types of resources that may be in it or use it.
_USERS: Final[Mapping[str, tuple[str, ...]]] = {
    "google_compute_network": (
        "google_compute_router",
        "google_compute_subnetwork",
        "google_container_cluster",
    ),
    "google_compute_subnetwork": ("google_container_cluster",),
    "google_monitoring_notification_channel": ("google_billing_budget", "google_monitoring_alert_policy"),
}
# Type -> how a Gateway, or a policy of its load balancer, names it.
_NAMED_BY_GATEWAYS: Final[Mapping[str, str]] = {
    "google_certificate_manager_certificate": '"networking.gke.io/cert-manager-certs": "{name}"',
    "google_compute_address": '"type": "NamedAddress", "value": "{name}"',
    "google_compute_region_security_policy": '"securityPolicy": "{name}"',
    "google_compute_region_ssl_policy": '"sslPolicy": "{name}"',
}
# Type -> service agent that encrypts it with a key.
_ENCRYPTING: Final[Mapping[str, str]] = {
    "google_artifact_registry_repository": "gcp-sa-artifactregistry",
    "google_container_cluster": "container-engine-robot",
}
# Metrics of Google's own, which always exist: https://cloud.google.com/monitoring/api/metrics
_METRICS: Final = re.compile(
    r"(?!(custom|external|prometheus|workload)\.)([a-z]+\.googleapis\.com/(?!user/)|(kubernetes|istio)\.io/)"
)
# Prefix of types -> API that is not enabled in a new project
# (https://cloud.google.com/service-usage/docs/enabled-service#default).
_APIS: Final[Mapping[str, str]] = {
    "google_artifact_registry_": "artifactregistry",
    "google_bigquery_data_transfer_": "bigquerydatatransfer",
    "google_billing_budget": "billingbudgets",
    "google_binary_authorization_": "binaryauthorization",
    "google_certificate_manager_": "certificatemanager",
    "google_cloud_quotas_": "cloudquotas",
    "google_composer_": "composer",
    "google_compute_": "compute",
    "google_container_analysis_": "containeranalysis",  # before the prefix that it begins with
    "google_container_": "container",
    "google_gke_backup_": "gkebackup",
    "google_iam_workload_": "iam",
    "google_kms_": "cloudkms",
    "google_pubsub_": "pubsub",
    "google_secret_manager_": "secretmanager",
    "google_service_account": "iam",
}
_FORWARDING: Final = (
    "google_project_iam_member",
    "google_pubsub_subscription",
    "google_pubsub_subscription_iam_member",
    "google_pubsub_topic_iam_member",
)
_BUILT_IN_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
_PULLERS: Final = [f"roles/artifactregistry.{each}" for each in ("reader", "writer", "repoAdmin", "admin")]
_INVALID: Final = "Error 400: INVALID_ARGUMENT"
_AGENTS: Final = "service-*@{}.iam.gserviceaccount.com"
_PUBSUB_AGENT: Final = _AGENTS.format("gcp-sa-pubsub")
_AGENT: Final = re.compile(r"serviceAccount:(service-\d+@[a-z-]+\.iam\.gserviceaccount\.com)")
_KEY: Final = re.compile(r'"(projects/[^"]+/cryptoKeys/[^"/]+)"')
# A Gateway takes its load balancer apart in this time here: what does not wait for it, goes too early.
_UNLOADING_SECONDS: Final = 3
_UNLOADING_MINUTES: Final = 10  # in which GKE does it, and what is left in its namespace
_IMAGE: Final = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<name>[^/]+)/")


def check(
    type_name: str, prior: Values | None, planned: Values | None, config: Values, provider: Values
) -> None:
    """Raise ResourceError if Google would refuse a change; `provider` is the provider's configuration."""
    if planned is not None:
        if prior is None and inventory.is_taken(type_name, planned.get("id") or ""):
            detail = f"{planned['id']} belongs to a destroyed resource: scripts/bootstrap.sh takes it over"
            raise ResourceError("Error 409: alreadyExists", detail)
        _check_present(type_name, planned, config, provider)
    elif prior is not None:
        _check_deletion(type_name, prior)


def _check_present(type_name: str, values: Values, config: Values, provider: Values) -> None:
    _check_api(type_name, values)
    if type_name == "google_bigquery_dataset_iam_member" and values["member"].startswith("principal"):
        # The provider itself turns members into the kinds of a dataset's access list, and knows no other.
        detail = f"write the member as iamMember:{values['member']}"
        raise ResourceError("Error 400: invalid", detail, "member")
    if type_name == "google_billing_budget" and not (
        provider["user_project_override"] and provider["billing_project"]
    ):
        raise ResourceError(
            "Error 403: SERVICE_DISABLED",
            "The billingbudgets.googleapis.com API requires a quota project, which a person's login has not: "
            "set user_project_override and billing_project of the provider",
        )
    for argument, target in _REFERENCES.get(type_name, {}).items():
        # A bucket may exist outside Terraform, such as that of its states.
        if config.get(argument) is None or target == "google_storage_bucket":
            continue
        id_ = _id(values, argument, target)
        if not inventory.exists(target, id_):
            raise ResourceError("Error 404: not found", f"{target} {id_} does not exist", argument)
    for types, rule in _RULES.items():
        if re.fullmatch(types, type_name):
            rule(type_name, values)


def _check_deletion(type_name: str, values: Values) -> None:
    if type_name == "kubernetes_namespace_v1":
        _emptied(values)
    if type_name == "kubernetes_manifest" and values["manifest"][1]["kind"] == "Gateway":
        time.sleep(_UNLOADING_SECONDS)
    if values.get("deletion_protection"):
        detail = f"Cannot delete {values['id']}: apply deletion_protection = false first"
        raise ResourceError("Deletion protection", detail, "deletion_protection")
    if not values.get("force_delete"):
        for user in _users(type_name, values):
            detail = f"{values['id']} is already being used by {user}"
            raise ResourceError("Error 400: resource in use", detail)


def _users(type_name: str, values: Values) -> Iterator[str]:
    for kind in _USERS.get(type_name, ()):
        yield from (each["id"] for each in _naming(kind, type_name, values["id"]))
    if type_name not in _NAMED_BY_GATEWAYS:
        return
    manifests = [*inventory.all_of("kubernetes_manifest")]
    if any(each["id"].startswith("Gateway/") for each in manifests):
        text = _NAMED_BY_GATEWAYS[type_name].format_map(values)
        # The proxies of a Gateway keep a policy for a while after its object is deleted.
        for each in (*manifests, *inventory.deleted("kubernetes_manifest")):
            if text in json.dumps(each, sort_keys=True):
                yield each["id"]


def _emptied(namespace: Values) -> None:
    name = items(namespace["metadata"])[0]["name"]
    gone = [each["id"] for each in inventory.deleted("kubernetes_manifest")]
    limit = (namespace.get("timeouts") or {}).get("delete") or "5m"
    units = {"h": 60, "m": 1, "s": 1 / 60}
    minutes = sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", limit))
    if any(id_.startswith(f"Gateway/{name}/") for id_ in gone) and minutes < _UNLOADING_MINUTES:
        detail = f"namespace {name} still has what belongs to the load balancer of its Gateway"
        raise ResourceError("context deadline exceeded", f"after {limit}, {detail}")


def remove_grants(type_name: str, id_: str) -> None:
    """Remove the grants on a resource that is deleted."""
    kind = f"{type_name}_iam_member"
    if kind in _REFERENCES:
        for grant in _naming(kind, type_name, id_):
            inventory.vanish(kind, grant["id"])


def _naming(kind: str, type_name: str, id_: str) -> Iterator[Values]:
    """The resources of a kind that name a resource: in the argument for it or, without one, by its id."""
    arguments = [name for name, target in _REFERENCES.get(kind, {}).items() if target == type_name]
    for each in inventory.all_of(kind):
        in_argument = any(_id(each, argument, type_name) == id_ for argument in arguments)
        if in_argument or (kind not in _REFERENCES and f'"{id_}"' in json.dumps(each)):
            yield each


def _check_api(type_name: str, values: Values) -> None:
    needed = [f"{api}.googleapis.com" for prefix, api in _APIS.items() if type_name.startswith(prefix)][:1]
    if type_name == "google_cloud_quotas_quota_preference":
        needed.append(values["service"])  # whose quota it is
    project = values.get("project") or values.get("parent", "").removeprefix("projects/")
    for service in needed:
        if not inventory.is_enabled(service, project):
            detail = f"{service} has not been used in project {project} before or it is disabled"
            raise ResourceError("Error 403: SERVICE_DISABLED", detail)


def _id(values: Values, argument: str, target: str) -> str:
    """The id of the resource that an argument names, by its short name, full name or link."""
    name: str = values[argument]
    if found := re.search(r"projects/.*", name):
        return found[0]
    form = IDS[target]
    own = re.findall(r"{(\w+)}", form)[-1]
    return form.format_map({"region": values.get("location"), **values, own: name})


def _member(type_name: str, values: Values) -> None:
    """IAM refuses accounts and identity pools that do not exist in its project."""
    member: str = values["member"]
    project = values.get("project")
    if found := re.fullmatch(rf"serviceAccount:(\S+@{project}\.iam\.gserviceaccount\.com)", member):
        exists = inventory.exists("google_service_account", f"projects/{project}/serviceAccounts/{found[1]}")
        problem = f"Service account {found[1]} does not exist."
    elif found := _AGENT.fullmatch(member):
        exists = inventory.exists("service_agent", found[1])
        problem = f"Service account {found[1]} does not exist: scripts/bootstrap.sh makes service agents."
    elif found := re.search(r"[/:]([a-z0-9-]+)\.svc\.id\.goog", member):
        exists = any(
            each["project"] == found[1] and each["workload_identity_config"]
            for each in inventory.all_of("google_container_cluster")
        )
        problem = f"Identity Pool does not exist ({found[1]}.svc.id.goog)."
    elif found := re.search(r"/workloadIdentityPools/([^/]+)/", member):
        pools = inventory.all_of("google_iam_workload_identity_pool")
        exists = any(each["workload_identity_pool_id"] == found[1] for each in pools)
        problem = f"Identity Pool does not exist ({found[1]})."
    else:
        return
    if not exists:
        raise ResourceError("Error 400: badRequest", problem, "member")


def _grants(who: str, roles: Collection[str], *resources: tuple[str, str]) -> Iterator[tuple[str, Values]]:
    """Grants of one of the roles, or a custom role, on one of the resources or their project, with types.

    `who` is an account's mail address, or a pattern of it; resources of one project have their type and id.
    """
    project = resources[0][1].split("/")[1]
    of_project = inventory.all_of("google_project_iam_member")
    found = [("google_project_iam_member", each) for each in of_project if each["project"] == project]
    for type_name, id_ in resources:
        kind = f"{type_name}_iam_member"
        found += [(kind, each) for each in _naming(kind, type_name, id_)]
    for kind, each in found:
        has_role = each["role"] in roles or "/roles/" in each["role"]
        if has_role and fnmatchcase(each["member"], f"serviceAccount:{who}"):
            yield kind, each


def _in_effect(type_name: str, kind: str, grant: Values) -> bool:
    """Whether a grant is in effect everywhere in Google Cloud, which takes two minutes.

    Nobody waits on a laptop: resources of this type must depend on something that depends on the grant and
    waits (`infra.google.identity.propagated`).
    """
    if not inventory.is_new(kind, grant["id"]):
        return True
    resources: Values = plugin.configuration()["resource"]
    same = [name for name, each in resources[kind].items() if each["role"] == grant["role"]]
    waits = {
        f"terraform_data.{wait}"
        for wait, each in resources.get("terraform_data", {}).items()
        if any(f"{kind}.{name}." in json.dumps(each) for name in same)
    }
    return all(waits & {*each.get("depends_on", ())} for each in resources[type_name].values())


def decides_dead_letters(type_name: str) -> bool:
    """Whether a new or deleted resource of this type can start or stop forwarding of dead letters."""
    return type_name in _FORWARDING and any(
        items(each.get("dead_letter_policy")) for each in inventory.all_of("google_pubsub_subscription")
    )


def forwards_dead_letters(subscription: Values) -> bool:
    """Whether Pub/Sub forwards the dead letters of a subscription; true for one without a dead-letter policy.

    Pub/Sub needs a grant to publish to the dead-letter topic and one to subscribe to the subscription.
    Without them it reports no error, and redelivers the messages forever:
    https://cloud.google.com/pubsub/docs/dead-letter-topics#grant_forwarding_permissions
    """
    for policy in items(subscription.get("dead_letter_policy")):
        for needed, type_name, id_ in (
            ("subscriber", "google_pubsub_subscription", subscription["id"]),
            ("publisher", "google_pubsub_topic", policy["dead_letter_topic"]),
        ):
            roles = [f"roles/pubsub.{each}" for each in (needed, "editor", "admin")]
            if not any(_grants(_PUBSUB_AGENT, roles, (type_name, id_))):
                return False
    return True


def _writable(type_name: str, values: Values) -> None:
    """Pub/Sub checks, when a BigQuery subscription is created, that it may write to the table."""
    # https://cloud.google.com/pubsub/docs/create-bigquery-subscription#assign_bigquery_service_account
    for config in items(values.get("bigquery_config")):
        account = config.get("service_account_email")
        project, _, rest = config["table"].partition(".")
        dataset, _, name = rest.partition(".")
        dataset_id = f"projects/{project}/datasets/{dataset}"
        table = ("google_bigquery_table", f"{dataset_id}/tables/{name}")
        roles = [f"roles/bigquery.{each}" for each in ("dataEditor", "dataOwner", "admin")]
        of_dataset = ("google_bigquery_dataset", dataset_id)
        if inventory.exists(*table) and not any(_grants(account or _PUBSUB_AGENT, roles, table, of_dataset)):
            problem = f"{account or 'the service agent of Pub/Sub'} may not write to {config['table']}"
            remedy = "grant it roles/bigquery.dataEditor there, and let the subscription depend on the grant"
            summary = "Error 403: The caller does not have permission"
            raise ResourceError(summary, f"{problem}: {remedy}", "bigquery_config")


def _copied(type_name: str, values: Values) -> None:
    """A dataset is copied where the copy is, twice a day at most, by an account that may.

    Google tells the latter with the first run, of the day after.
    https://cloud.google.com/bigquery/docs/managing-datasets#copy-datasets
    """
    if values["data_source_id"] != "cross_region_copy":
        return
    account = values["service_account_name"]
    source = values["params"].get("source_dataset_id")
    datasets = {each["dataset_id"]: each for each in inventory.all_of("google_bigquery_dataset")}
    if source not in datasets:
        raise ResourceError(_INVALID, f"dataset {source} does not exist", "params")
    copy = datasets[values["destination_dataset_id"]]
    if copy["location"] != values["location"]:
        where = f"in {values['location']} when destination dataset is located in {copy['location']}"
        raise ResourceError(_INVALID, f"Cannot create a transfer {where}", "location")
    if re.search(r"every ([1-9]|1[01]) hours|minute", values["schedule"] or ""):
        raise ResourceError(_INVALID, "datasets are copied every 12 hours at most", "schedule")
    for dataset, roles in (
        (datasets[source], ("roles/bigquery.dataViewer", "roles/bigquery.admin")),
        (copy, ("roles/bigquery.dataOwner", "roles/bigquery.admin")),
    ):
        if not any(_grants(account, roles, ("google_bigquery_dataset", dataset["id"]))):
            need = f"{account} needs {roles[0]}, or a custom role, on {dataset['id']}"
            detail = f"{need}, and the transfer must depend on that grant"
            raise ResourceError("Error 403: PERMISSION_DENIED", detail, "service_account_name")


def _worker(type_name: str, values: Values) -> None:
    """Composer's workers need a role; without it, Google would report the error after half an hour."""
    for config in items(values.get("config")):
        for node in items(config.get("node_config")):
            if account := node.get("service_account"):
                project = ("google_project", f"projects/{values['project']}")
                _need(type_name, account, account, "roles/composer.worker", project)


def _encrypted(type_name: str, values: Values) -> None:
    """A service agent needs the key; that of another project is granted by its owner, elsewhere."""
    agent = _ENCRYPTING[type_name]
    for key in {*_KEY.findall(json.dumps(values))}:
        resource = ("google_kms_crypto_key", key)
        if key.startswith(f"projects/{values['project']}/") and inventory.exists(*resource):
            role = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
            _need(type_name, agent, _AGENTS.format(agent), role, resource)


def _need(type_name: str, name: str, who: str, role: str, resource: tuple[str, str]) -> None:
    """Refuse to make a resource before a grant is in effect."""
    found = [*_grants(who, (role,), resource)]
    if not any(_in_effect(type_name, *each) for each in found):
        too_early = "has had it for seconds: it must wait until the grant is in effect"
        remedy = too_early if found else "must depend on that grant"
        detail = f"{name} needs {role} on {resource[1]}, and {type_name} {remedy}"
        raise ResourceError("Error 400: FAILED_PRECONDITION", detail)


def _measured(type_name: str, values: Values) -> None:
    """Alerts are on metrics that exist: Google's own. Others do from their first value on."""
    for metric in re.findall(r'metric\.type *= *\\?"([^"\\]+)', json.dumps(values)):
        if not _METRICS.match(metric):
            problem = f'Cannot find metric(s) that match type = "{metric}".'
            raise ResourceError("Error 404: notFound", problem)
    for condition in items(values.get("conditions")):
        for query in items(condition["condition_prometheus_query_language"]):
            if not query["disable_metric_validation"]:
                detail = "Google looks for the metrics of a query in PromQL: set disable_metric_validation"
                raise ResourceError("Not simulated", detail, "conditions")


def _namespace(type_name: str, values: Values) -> None:
    if type_name == "kubernetes_manifest":
        _, manifest = values["manifest"]  # a dynamic value is a pair of its type and itself
        metadata: Values = manifest["metadata"]
    else:
        metadata = next(iter(items(values.get("metadata"))), {})
    name = metadata.get("namespace")
    if name and name not in _BUILT_IN_NAMESPACES and not inventory.exists("kubernetes_namespace_v1", name):
        raise ResourceError("Error 404: not found", f'namespaces "{name}" not found', "metadata")


def _runnable(type_name: str, values: Values) -> None:
    """Pods need their service account, and nodes need permission to pull images."""
    metadata = items(values["metadata"])[0]
    pod = items(items(items(values["spec"])[0]["template"])[0]["spec"])[0]
    account = pod.get("service_account_name")
    name = f"{metadata.get('namespace') or 'default'}/{account}"
    if account and account != "default" and not inventory.exists("kubernetes_service_account_v1", name):
        detail = f'error looking up service account {name}: serviceaccount "{account}" not found'
        raise ResourceError("Waiting for rollout to finish: 0 replicas available", detail)
    for container in pod["container"]:
        if image := _IMAGE.match(container.get("image") or ""):
            _pullable(image)


def _pullable(image: re.Match[str]) -> None:
    repository = "projects/{project}/locations/{location}/repositories/{name}".format_map(image.groupdict())
    if not inventory.exists("google_artifact_registry_repository", repository):
        raise ResourceError("ImagePullBackOff", f"there is no repository {repository}")
    for pool in inventory.all_of("google_container_node_pool"):
        account = next((each.get("service_account") for each in items(pool.get("node_config"))), None)
        if pool["project"] != image["project"] or not account:
            continue
        if not any(_grants(account, _PULLERS, ("google_artifact_registry_repository", repository))):
            reason = f"nodes run as {account}, which may not read {repository}"
            raise ResourceError("ImagePullBackOff", reason)


# Patterns of types -> check.
_RULES: Final[Mapping[str, Callable[[str, Values], None]]] = {
    "google_monitoring_alert_policy": _measured,
    "kubernetes_.*": _namespace,
    ".*_iam_member": _member,
    "google_pubsub_subscription": _writable,
    "google_bigquery_data_transfer_config": _copied,
    "google_composer_environment": _worker,
    "|".join(_ENCRYPTING): _encrypted,
    "kubernetes_(deployment|job)_v1": _runnable,
}
