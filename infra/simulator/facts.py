"""Facts about resource types that the provider bindings lack.

They come from the documentation and behaviour of the real providers (google 6.50, kubernetes 2.38): computed
arguments, changes that need a replacement, secrets. The tables hold types of the stacks; for other types,
common names and the wording of the documentation decide.
"""

import re
from collections.abc import Mapping
from typing import Final

from tf.gen import tfplugin_pb2 as pb

from infra.simulator.resources import Values

_COMPUTED_ANYWHERE: Final = frozenset({"id", "project", "region", "zone"})
_COMPUTED_PHRASES: Final = re.compile(
    r"if (it is |this is |this field is )?(not (provided|specified|set)|unspecified|left blank|blank|omitted)"
    r"|assigned automatically|automatically (assign|generat|determin|choos|select)"
    r"|chosen by|will be (generated|assigned)",
    re.IGNORECASE,
)
_COMPUTED: Final[Mapping[str, str]] = {
    "google_artifact_registry_repository": "location",
    "google_bigquery_dataset": "storage_billing_model",
    "google_bigquery_table": "schema",
    "google_billing_budget": "amount.specified_amount.currency_code",
    "google_composer_environment": (
        "config config.environment_size config.resilience_mode config.enable_private_environment "
        "config.enable_private_builds_only config.node_config.network config.node_config.subnetwork "
        "config.node_config.service_account config.node_config.oauth_scopes "
        "config.node_config.composer_internal_ipv4_cidr_block config.software_config.image_version "
        "config.workloads_config.scheduler.cpu config.workloads_config.scheduler.memory_gb "
        "config.workloads_config.scheduler.storage_gb config.workloads_config.scheduler.count "
        "config.workloads_config.web_server.cpu config.workloads_config.web_server.memory_gb "
        "config.workloads_config.web_server.storage_gb config.workloads_config.worker.cpu "
        "config.workloads_config.worker.memory_gb config.workloads_config.worker.storage_gb "
        "config.workloads_config.worker.min_count config.workloads_config.worker.max_count"
    ),
    "google_compute_address": "address network_tier prefix_length purpose subnetwork",
    "google_compute_network": "internal_ipv6_range mtu routing_mode",
    "google_compute_router": "",
    "google_compute_router_nat": "auto_network_tier drain_nat_ips min_ports_per_vm nat_ips",
    "google_compute_subnetwork": (
        "external_ipv6_prefix internal_ipv6_prefix ip_cidr_range private_ip_google_access "
        "private_ipv6_google_access purpose stack_type"
    ),
    "google_container_cluster": (
        "location node_locations node_version cluster_ipv4_cidr "
        "control_plane_endpoints_config.dns_endpoint_config "
        "control_plane_endpoints_config.dns_endpoint_config.endpoint default_max_pods_per_node "
        "datapath_provider enable_intranode_visibility enable_l4_ilb_subsetting "
        "ip_allocation_policy.cluster_ipv4_cidr_block ip_allocation_policy.services_ipv4_cidr_block "
        "logging_service master_auth monitoring_service networking_mode private_cluster_config "
        "private_cluster_config.master_ipv4_cidr_block private_ipv6_google_access subnetwork"
    ),
    "google_container_node_pool": (
        "initial_node_count location max_pods_per_node name name_prefix node_count node_locations version"
    ),
    "google_iam_workload_identity_pool": "mode",
    "google_monitoring_alert_policy": "",
    "google_monitoring_notification_channel": "",
    "google_monitoring_custom_service": "service_id",
    "google_monitoring_slo": "slo_id",
    "google_project_service": "",
    "google_pubsub_subscription": "ack_deadline_seconds",
    "google_pubsub_topic": "",
    "google_service_account": "",
    "google_storage_bucket": "public_access_prevention rpo uniform_bucket_level_access",
}
_KUBERNETES_COMPUTED: Final = frozenset({"id", "metadata.name"})

_SENSITIVE: Final = re.compile(
    r"(^|_)(password|secret_data|client_secret|private_key|client_key|access_token|auth_token|service_key)$"
)
_KUBERNETES_SECRET: Final = re.compile(r"kubernetes_secret(_v1)?$")
_PROTECTED_PHRASES: Final = re.compile(r"set to true or unset|defaults to true|unless this", re.IGNORECASE)
_IDENTITY: Final = frozenset({"name", "project", "location", "region", "zone"})
_REPLACE_PHRASES: Final = re.compile(
    r"forces? (a new|re-?creation|replacement|the .{0,40} to be re-?created)"
    r"|(changing|updating) this.{0,40}(re-?creat|replac)"
    r"|cannot be (changed|updated|modified)|can't modify|immutable",
    re.IGNORECASE,
)
# A path includes everything below it.
_REPLACE: Final[Mapping[str, str]] = {
    "google_artifact_registry_repository": "repository_id location project format kms_key_name mode",
    "google_billing_budget": "billing_account",
    "google_composer_environment": (
        "name region project config.node_config.service_account config.node_config.tags "
        "config.node_config.ip_allocation_policy config.node_config.composer_internal_ipv4_cidr_block "
        "config.private_environment_config config.encryption_config.kms_key_name storage_config.bucket"
    ),
    "google_compute_address": (
        "name region project address address_type description ip_version network purpose subnetwork"
    ),
    "google_compute_network": (
        "name project auto_create_subnetworks description internal_ipv6_range network_profile"
    ),
    "google_compute_router": "name region project network",
    "google_compute_router_nat": "name router region project endpoint_types type",
    "google_compute_subnetwork": "name region project network description reserved_internal_range",
    "google_container_cluster": (
        "name location project network subnetwork description cluster_ipv4_cidr confidential_nodes "
        "datapath_provider default_max_pods_per_node enable_autopilot enable_kubernetes_alpha "
        "initial_node_count ip_allocation_policy master_auth.client_certificate_config networking_mode "
        "private_cluster_config.master_ipv4_cidr_block "
        "private_cluster_config.private_endpoint_subnetwork"
    ),
    "google_container_node_pool": (
        "name name_prefix project cluster location initial_node_count max_pods_per_node "
        "placement_policy queued_provisioning network_config.pod_range network_config.create_pod_range "
        "network_config.pod_ipv4_cidr_block"
    ),
    "google_iam_workload_identity_pool": "workload_identity_pool_id project",
    "google_iam_workload_identity_pool_provider": (
        "workload_identity_pool_id workload_identity_pool_provider_id project"
    ),
    "google_monitoring_alert_policy": "project",
    "google_monitoring_custom_service": "project service_id",
    "google_monitoring_dashboard": "project",
    "google_monitoring_notification_channel": "project",
    "google_monitoring_slo": "project service slo_id",
    "google_project_iam_custom_role": "role_id project",
    "google_project_service": "project service",
    "google_secret_manager_secret": "secret_id project replication",
    "google_service_account": "project account_id",
}
_KUBERNETES_REPLACE: Final = frozenset({"metadata.name", "metadata.namespace", "metadata.generate_name"})


def is_computed(type_name: str, path: tuple[str, ...], documentation: str) -> bool:
    """Whether the provider computes an optional argument that is not configured."""
    dotted = ".".join(path)
    if type_name.startswith("kubernetes_"):
        return dotted in _KUBERNETES_COMPUTED
    if dotted in _COMPUTED_ANYWHERE:
        return True
    if type_name in _COMPUTED:
        return dotted in _COMPUTED[type_name].split()
    return bool(_COMPUTED_PHRASES.search(documentation))


def is_sensitive(type_name: str, path: tuple[str, ...]) -> bool:
    """Whether the value is secret."""
    if _KUBERNETES_SECRET.match(type_name):
        return path[0] in ("data", "binary_data")
    return bool(_SENSITIVE.search(path[-1]))


def is_computed_block(type_name: str, path: tuple[str, ...], block: pb.Schema.NestedBlock) -> bool:
    """Whether the provider computes a nested block that is not configured."""
    if type_name in _COMPUTED:
        return ".".join(path) in _COMPUTED[type_name].split()
    return block.max_items == 1 and any(
        each.computed and not each.optional for each in block.block.attributes
    )


def forces_replacement(type_name: str, path: tuple[str, ...], documentation: str) -> bool:
    """Whether a change of an argument or block needs a new resource."""
    above = {".".join(path[:length]) for length in range(1, len(path) + 1)}
    if type_name.startswith("kubernetes_"):
        return not above.isdisjoint(_KUBERNETES_REPLACE)
    if type_name.endswith("_iam_member"):
        return True
    if type_name in _REPLACE:
        return not above.isdisjoint(_REPLACE[type_name].split())
    return not above.isdisjoint(_IDENTITY) or bool(_REPLACE_PHRASES.search(documentation))


def is_protected(block: pb.Schema.Block, state: Values) -> bool:
    """Whether `deletion_protection`, as set or by default, keeps a resource from being deleted."""
    for attribute in block.attributes:
        if attribute.name == "deletion_protection":
            value = state[attribute.name]
            return value is True or (value is None and bool(_PROTECTED_PHRASES.search(attribute.description)))
    return False
