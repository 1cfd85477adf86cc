"""Plausible values of computed attributes, in the form of the real providers.

They are deterministic: the same configuration always gets the same values.
"""

import base64
import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from infra.simulator.resources import Values
from infra.simulator.values import is_unknown

IDS: Final[Mapping[str, str]] = {
    "google_artifact_registry_repository": (
        "projects/{project}/locations/{location}/repositories/{repository_id}"
    ),
    "google_bigquery_data_transfer_config": "projects/{project}/locations/{location}/transferConfigs/{uuid}",
    "google_bigquery_dataset": "projects/{project}/datasets/{dataset_id}",
    "google_bigquery_table": "projects/{project}/datasets/{dataset_id}/tables/{table_id}",
    "google_billing_budget": "billingAccounts/{billing_account}/budgets/{uuid}",
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
    "google_monitoring_dashboard": "projects/{project}/dashboards/{uuid}",
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

_SELF_LINKS: Final[Mapping[str, str]] = {
    "google_bigquery": "https://bigquery.googleapis.com/bigquery/v2/",
    "google_compute": "https://www.googleapis.com/compute/v1/",
    "google_container": "https://container.googleapis.com/v1/",
    "google_storage_bucket": "https://www.googleapis.com/storage/v1/b/",
}
# Google's defaults, by attribute.
_DEFAULTS: Final[Mapping[str, str]] = {
    "auto_network_tier": "PREMIUM",
    "deletion_policy": "DELETE",
    "logging_service": "logging.googleapis.com/kubernetes",
    "monitoring_service": "monitoring.googleapis.com/kubernetes",
    "networking_mode": "VPC_NATIVE",
    "purpose": "PRIVATE",
    "resilience_mode": "STANDARD_RESILIENCE",
    "routing_mode": "REGIONAL",
    "rpo": "DEFAULT",
    "service_account_name": "default",
    "stack_type": "IPV4_ONLY",
    "state": "ACTIVE",
    "storage_billing_model": "LOGICAL",
}
_GKE_VERSION: Final = "1.33.5-gke.1162000"
_CREATED: Final = "2026-01-01T00:00:00Z"
_PREFIX_LENGTH: Final = 28
_ENCODED: Final = re.compile(r"certificate|client_key|public_key|private_key")


class ComputedValues:
    """The computed values of one resource."""

    def __init__(self, type_name: str, configured: Values) -> None:
        """Derive them from the configured values; those to compute are null or unknown."""
        self._type = type_name
        self._given = {
            key: value for key, value in configured.items() if isinstance(value, str | int | float | bool)
        }
        metadata = configured.get("metadata")
        self._metadata: Values = metadata[0] if isinstance(metadata, list) and metadata else {}
        fingerprint = json.dumps(_known(configured), sort_keys=True, default=repr)
        self._seed = hashlib.sha256(f"{type_name} {fingerprint}".encode()).digest()

    def value(self, cty_type: Any, path: tuple[str, ...]) -> Any:
        """The value of the attribute at a path of names; its type is in Terraform's JSON notation."""
        name = path[-1]
        if cty_type == "string":
            return self._text(name, path)
        if cty_type == "number":
            return int(self._number(path)) if name.endswith("number") else 1 if name == "generation" else 0
        if cty_type == "bool":
            return False
        if cty_type == "dynamic":
            return None
        kind, of = cty_type
        if kind == "object":
            return {key: self.value(each, (*path, key)) for key, each in of.items()}
        if kind == "map":
            return {}
        return [self.value(of, path)] if isinstance(of, list) and of[0] == "object" else []

    def _text(self, name: str, path: tuple[str, ...]) -> str:
        if len(path) == 1:
            match name:
                case "id" | "name":  # where the cloud makes the name, it is the id
                    return self._id()
                case "self_link":
                    links = (link for prefix, link in _SELF_LINKS.items() if self._type.startswith(prefix))
                    return next(links, "") + self._id()
                case "email" | "service_account_email":
                    return self._email()
                case "member":
                    return f"serviceAccount:{self._email()}"
                case "url" if self._type == "google_storage_bucket":
                    return f"gs://{self._given.get('name', '')}"
                case "schema" if self._type == "google_bigquery_table":
                    return "[]"
                case "project_id" if "project" in self._given:
                    return str(self._given["project"])
                case _:
                    pass
        if name in _DEFAULTS:
            return _DEFAULTS[name]
        if name == "location":
            return self._location()
        if _ENCODED.search(name):
            return base64.b64encode(self._digest(path)).decode()
        if "version" in name and self._type.startswith("google_container_"):
            return _GKE_VERSION
        if name in ("unique_id", "number", "resource_version", "fingerprint") or name.endswith("_number"):
            return self._number(path)
        if name == "uid":
            return self._uuid(path)
        if re.search(r"(^|_)(time|timestamp|updated|created)$|^time_", name):
            return _CREATED
        if name == "endpoint" and "dns_endpoint_config" in path:
            return f"gke-{self._digest(path).hex()[:32]}.{self._location()}.gke.goog"
        if re.search(r"(^|_)(address|ip|endpoint|gateway_ipv4)$", name):
            return str(ipaddress.IPv4Address("10.128.0.0") + int.from_bytes(self._digest(path)[:2]))
        if name.endswith(("cidr", "cidr_block", "cidr_range")):
            return str(ipaddress.IPv4Network((f"10.{self._digest(path)[0]}.0.0", _PREFIX_LENGTH)))
        if re.search(r"(^|_)(uri|url|link)$", name):
            return f"https://{self._digest(path).hex()[:16]}.simulated.invalid/{self._id()}"
        if name == "dag_gcs_prefix":
            return f"gs://{self._given.get('region', 'region')}-{self._given.get('name', 'env')}-bucket/dags"
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

    def _location(self) -> str:
        """The configured location, or the location in the name of another resource."""
        if "location" in self._given:
            return str(self._given["location"])
        texts = (value for value in self._given.values() if isinstance(value, str))
        found = next(
            filter(None, (re.search(r"/(?:locations|regions)/([^/]+)/", text) for text in texts)), None
        )
        return found[1] if found else str(self._given.get("region", "global"))

    def _format(self, template: str) -> str:
        made: dict[str, Any] = {
            "number": self._number(("name",)),
            "uuid": self._uuid(("name",)),
            "email": self._email(),
        }
        fields = re.findall(r"\{(\w+)\}", template)
        return template.format_map({key: self._given.get(key) or made.get(key, "-") for key in fields})

    def _email(self) -> str:
        account = self._given.get("account_id", f"service-{self._number(('email',))}")
        return f"{account}@{self._given.get('project', 'project')}.iam.gserviceaccount.com"

    def _digest(self, path: tuple[str, ...]) -> bytes:
        return hashlib.sha256(self._seed + json.dumps(path).encode()).digest()

    def _number(self, path: tuple[str, ...]) -> str:
        return str(10**11 + int.from_bytes(self._digest(path)[:8]) % (9 * 10**11))

    def _uuid(self, path: tuple[str, ...]) -> str:
        text = self._digest(path).hex()
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:32]}"


def _known(values: Any) -> Any:
    """A value without its unknown and null parts."""
    if isinstance(values, dict):
        return {k: _known(v) for k, v in values.items() if v is not None and not is_unknown(v)}
    if isinstance(values, list):
        return [_known(each) for each in values if not is_unknown(each)]
    return values
