"""The grants of an environment, and how they differ from the needs of its resources."""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from tests.stacks.iam_graph import BACKENDS, Graph, Permission, UnknownEdgeError

_GRANTS: Final[Mapping[str, tuple[str, str]]] = {
    "google_artifact_registry_repository_iam_member": ("repository", "{repository}"),
    "google_bigquery_dataset_iam_member": ("dataset", "{dataset_id}"),
    "google_bigquery_table_iam_member": ("table", "{dataset_id}.{table_id}"),
    "google_container_analysis_note_iam_member": ("note", "{note}"),
    "google_iap_web_iam_member": BACKENDS,
    "google_kms_crypto_key_iam_member": ("key", "{crypto_key_id}"),
    "google_kms_key_ring_iam_member": ("key ring", "{key_ring_id}"),
    "google_project_iam_member": ("project", "{project}"),
    "google_pubsub_subscription_iam_member": ("subscription", "{subscription}"),
    "google_pubsub_topic_iam_member": ("topic", "{topic}"),
    "google_secret_manager_secret_iam_member": ("secret", "{secret_id}"),
    "google_service_account_iam_member": ("account", "{service_account_id}"),
    "google_storage_bucket_iam_member": ("bucket", "{bucket}"),
}
"""Resource type of a grant to kind and name of the resource that it is on."""


def grants(graph: Graph) -> dict[Permission, list[str]]:
    """Every permission granted, with the addresses of the grants.

    Raises:
        UnknownEdgeError: a resource type of IAM is not in `_GRANTS`.
    """
    found: defaultdict[Permission, list[str]] = defaultdict(list)
    for kind, address, each in graph.resources:
        if not re.search(r"_iam_(member|binding|policy)$", kind):
            continue
        if kind not in _GRANTS:
            raise UnknownEdgeError(f"{address}: no rule for grants of this type")
        on, pattern = _GRANTS[kind]
        name = re.sub(".*/(serviceAccounts|keyRings)/", "", pattern.format_map(each))
        member = each["member"].removeprefix("iamMember:")
        found[Permission(member, each["role"], on, name)].append(address)
    return dict(found)


def faults(needed: Mapping[Permission, list[str]], granted: Mapping[Permission, list[str]]) -> list[str]:
    """Needs without a grant, grants without a need, and grants made twice."""
    missing = [f"missing: {each}, for {'; '.join(needed[each])}" for each in needed if each not in granted]
    unused = [f"unused: {each} ({', '.join(granted[each])})" for each in granted if each not in needed]
    twice = [f"twice: {each} ({', '.join(where)})" for each, where in granted.items() if len(where) > 1]
    return sorted(missing + unused + twice)
