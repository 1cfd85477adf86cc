"""Values of computed attributes: ids, links and addresses in the form of the real providers, others made up.

The same configuration always gets the same values.
"""

import hashlib
import ipaddress
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from infra.simulator.resources import Values

IDS: Final[Mapping[str, str]] = {
    "google_artifact_registry_repository": (
        "projects/{project}/locations/{location}/repositories/{repository_id}"
    ),
    "google_bigquery_data_transfer_config": (
        "projects/{project}/locations/{location}/transferConfigs/{number}"
    ),
    "google_bigquery_dataset": "projects/{project}/datasets/{dataset_id}",
    "google_bigquery_table": "projects/{project}/datasets/{dataset_id}/tables/{table_id}",
    "google_billing_budget": "billingAccounts/{billing_account}/budgets/{number}",
    "google_cloud_quotas_quota_preference": "{parent}/locations/global/quotaPreferences/{name}",
    "google_composer_environment": "projects/{project}/locations/{region}/environments/{name}",
    "google_compute_network": "projects/{project}/global/networks/{name}",
    "google_compute_router": "projects/{project}/regions/{region}/routers/{name}",
    "google_compute_router_nat": "{project}/{region}/{router}/{name}",
    "google_compute_subnetwork": "projects/{project}/regions/{region}/subnetworks/{name}",
    "google_container_cluster": "projects/{project}/locations/{location}/clusters/{name}",
    "google_container_node_pool": "{cluster}/nodePools/{name}",
    "google_iam_workload_identity_pool": (
        "projects/{project}/locations/global/workloadIdentityPools/{workload_identity_pool_id}"
    ),
    "google_iam_workload_identity_pool_provider": (
        "projects/{project}/locations/global/workloadIdentityPools/{workload_identity_pool_id}"
        "/providers/{workload_identity_pool_provider_id}"
    ),
    "google_kms_crypto_key": "{key_ring}/cryptoKeys/{name}",
    "google_kms_key_ring": "projects/{project}/locations/{location}/keyRings/{name}",
    "google_logging_project_bucket_config": "projects/{project}/locations/{location}/buckets/{bucket_id}",
    "google_logging_project_exclusion": "projects/{project}/exclusions/{name}",
    "google_monitoring_alert_policy": "projects/{project}/alertPolicies/{number}",
    "google_monitoring_dashboard": "projects/{project}/dashboards/{number}",
    "google_monitoring_notification_channel": "projects/{project}/notificationChannels/{number}",
    "google_project_iam_custom_role": "projects/{project}/roles/{role_id}",
    "google_project_service": "{project}/{service}",
    "google_pubsub_schema": "projects/{project}/schemas/{name}",
    "google_pubsub_subscription": "projects/{project}/subscriptions/{name}",
    "google_pubsub_topic": "projects/{project}/topics/{name}",
    "google_secret_manager_secret": "projects/{project}/secrets/{secret_id}",
    "google_service_account": "projects/{project}/serviceAccounts/{email}",
    "google_storage_bucket": "{name}",
    "google_storage_bucket_object": "{bucket}-{name}",
    "google_tags_tag_key": "tagKeys/{number}",
    "google_tags_tag_value": "tagValues/{number}",
}
"""Resource ids in the form of the real providers, with the resource's attributes in braces."""


class ComputedValues:
    """The computed values of one resource, derived from its configured ones."""

    def __init__(self, type_name: str, configured: Values) -> None:
        self._type = type_name
        self._given = {
            key: value for key, value in configured.items() if isinstance(value, str | int | float | bool)
        }
        metadata = configured.get("metadata")
        self._metadata: Values = metadata[0] if isinstance(metadata, list) and metadata else {}
        fingerprint = json.dumps(configured, sort_keys=True, default=repr)
        self._seed = hashlib.sha256(f"{type_name} {fingerprint}".encode()).digest()

    def value(self, cty_type: Any, path: tuple[str, ...]) -> Any:
        """The value of the attribute at a path of names; its type is in Terraform's JSON notation."""
        match cty_type:
            case "string":
                return self._text(path)
            case "number":
                return 0
            case "bool":
                return False
            case ["object", of]:
                return {key: self.value(each, (*path, key)) for key, each in of.items()}
            case ["list" | "set", ["object", _] as of]:
                return [self.value(of, path)]
            case ["list" | "set", _]:
                return []
            case ["map", _]:
                return {}
            case _:  # dynamic
                return None

    def _text(self, path: tuple[str, ...]) -> str:
        match path:
            case ["id" | "name"]:  # where the cloud makes the name, it is the id
                return self._id()
            case ["self_link"]:
                return f"https://www.googleapis.com/{self._id()}"
            case ["email"]:
                return self._format("{email}")
            case ["member"]:
                return self._format("serviceAccount:{email}")
            case ["schema"] if self._type == "google_bigquery_table":
                return "[]"
            case [*_, "service_account_name"]:
                return "default"  # of pods that name none
            case [*_, "dns_endpoint_config", "endpoint"]:
                return self._format("gke-{number}.{location}.gke.goog")
            case [*_, "address"]:
                return str(ipaddress.IPv4Address("10.128.0.0") + int.from_bytes(self._digest(path)[:2]))
            case _:
                return f"simulated-{self._digest(path).hex()[:12]}"

    def _id(self) -> str:
        if self._metadata:
            namespace, name = self._metadata.get("namespace"), self._metadata.get("name")
            return f"{namespace}/{name}" if namespace else str(name)
        if self._type in IDS:
            return self._format(IDS[self._type])
        if self._type.endswith("_iam_member"):
            last = [self._given[key] for key in ("role", "member") if key in self._given]
            return "/".join([str(v) for v in self._given.values() if v not in last] + [str(v) for v in last])
        project = f"projects/{self._given['project']}/" if "project" in self._given else ""
        place = next((self._given[key] for key in ("location", "region", "zone") if key in self._given), None)
        location = f"locations/{place}/" if project and place else ""
        name = self._given.get("name") or self._digest(("id",)).hex()[:16]
        return f"{project}{location}{name}"

    def _format(self, template: str) -> str:
        account, project = (self._given.get(key) for key in ("account_id", "project"))
        fields = {
            "number": 10**11 + int.from_bytes(self._digest(("name",))[:8]) % (9 * 10**11),
            "email": f"{account}@{project}.iam.gserviceaccount.com",
            **self._given,
        }
        return template.format_map(defaultdict(lambda: "-", fields))

    def _digest(self, path: tuple[str, ...]) -> bytes:
        return hashlib.sha256(self._seed + json.dumps(path).encode()).digest()
