"""The Kubernetes cluster: GKE Standard, regional, with private nodes."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from infra.cdk import Block, Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.cdk.waivers import waive
from infra.environment.addresses import PODS_PER_NODE
from infra.environment.cluster import SOME_MONDAY, WEEK, ClusterMaintenance, ClusterSettings
from infra.google.backup import BackupPlan
from infra.google.identity import Account
from infra.google.key import Key
from infra.google.network import Network
from infra.google.node_pool import HARDENED, add_node_pool
from infra.google.topic import Topic


class Cluster(Construct):
    """A cluster with autoscaled node pools.

    Args:
        zones: where its nodes are.
        labels: labels of the machines, which the bill shows.
        after: grants without which the cluster cannot be made, or its nodes do not start.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        settings: ClusterSettings,
        zones: Sequence[str],
        network: Network,
        labels: Mapping[str, str],
        node_account: Account,
        key: Key | None,
        after: Sequence[TerraformResource],
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        self.name: Final = place.platform
        events = Topic(self, "events", name="cluster-events")
        self._resource = google.container_cluster.ContainerCluster(
            self,
            "Default",
            name=place.platform,
            location=place.region,
            node_locations=list(zones),
            deletion_protection=place.protected,
            release_channel={"channel": settings.release_channel},
            maintenance_policy=_maintenance(settings.maintenance),
            # The API insists on a node pool, which is removed: pools are resources of their own, since a
            # change of one inside the cluster resource recreates the cluster. While it exists it runs as our
            # account: the project's default account has too many rights or is disabled. Afterwards there is
            # nothing to compare its configuration with.
            remove_default_node_pool=True,
            initial_node_count=1,
            node_config={
                # A new project has a quota of 250 GB of SSD, which the platform's own pools need.
                "disk_type": "pd-standard",
                "disk_size_gb": 20,
                "service_account": node_account.email,
                **HARDENED,
            },
            lifecycle={"ignore_changes": ["node_config"]},
            **_networking(network),
            **_access(settings, place.project_id, key),
            # GKE makes no pools of its own: those of the environment have limits and hardened nodes.
            cluster_autoscaling={"enabled": False, "autoscaling_profile": settings.autoscaling_profile},
            vertical_pod_autoscaling={"enabled": True},
            # Metrics are read more often, so pods come sooner.
            pod_autoscaling={"hpa_profile": "PERFORMANCE"},
            **_telemetry(settings, events),
            cost_management_config={"enabled": True},  # the bill names namespaces and workloads
            addons_config={"gke_backup_agent_config": {"enabled": settings.backup is not None}},
            depends_on=[*after, events.resource],
        )
        waive(
            self._resource,
            {
                "CKV_GCP_12": "Dataplane V2 enforces network policies by itself",
                "CKV_GCP_13": "no client certificate is issued unless one is asked for",
                "CKV_GCP_20": "the control plane has no IP endpoint",
                "CKV_GCP_21": "labels are the provider's default ones",
                "CKV_GCP_65": "IAM decides who may do what; groups need a domain of one's own",
            },
        )
        for name, pool in settings.pools.items():
            add_node_pool(
                self,
                name,
                pool,
                cluster=self._resource,
                zones=len(zones),
                labels=labels,
                account=node_account,
            )
        if settings.backup:
            BackupPlan(self, "backup", cluster=self._resource, settings=settings.backup, key=key)

    @property
    def dns_name(self) -> str:
        """DNS name of the control plane. Google chooses it, so other stacks read it from the state."""
        return self._resource.control_plane_endpoints_config.dns_endpoint_config.endpoint


def _networking(network: Network) -> Block:
    """Private nodes, and a control plane that IAM guards."""
    return {
        "network": network.path,
        "subnetwork": network.subnet,
        "ip_allocation_policy": {
            "cluster_secondary_range_name": network.pods,
            "services_secondary_range_name": network.services,
        },
        "default_max_pods_per_node": PODS_PER_NODE,  # the range of pods is sized for it
        "private_cluster_config": {"enable_private_nodes": True},
        # The control plane has a DNS name only, and IAM decides who gets through: CI reaches it from
        # anywhere, and no list of addresses has to be maintained.
        "control_plane_endpoints_config": {
            "dns_endpoint_config": {"allow_external_traffic": True},
            "ip_endpoints_config": {"enabled": False},
        },
        "datapath_provider": "ADVANCED_DATAPATH",  # Dataplane V2: it enforces network policies
        "enable_intranode_visibility": True,  # otherwise flow logs miss traffic between pods of a node
        "gateway_api_config": {"channel": "CHANNEL_STANDARD"},
    }


def _access(settings: ClusterSettings, project: str, key: Key | None) -> Block:
    """Identities of pods, what anonymous callers may do, admission of images, encryption."""
    admission = {"evaluation_mode": "PROJECT_SINGLETON_POLICY_ENFORCE"}
    return {
        "workload_identity_config": {"workload_pool": f"{project}.svc.id.goog"},
        # Anonymous callers reach the health checks only, and no role binding can change that.
        "anonymous_authentication_config": {"mode": "LIMITED"},
        "rbac_binding_config": {
            "enable_insecure_binding_system_authenticated": False,
            "enable_insecure_binding_system_unauthenticated": False,
        },
        "binary_authorization": admission if settings.binary_authorization else None,
        "database_encryption": {"state": "ENCRYPTED", "key_name": key.path} if key else None,
        "security_posture_config": {
            "mode": "BASIC",  # audits the configuration of workloads
            # Images are scanned in their repository; GKE's own scanner was shut down in 2025.
            # https://cloud.google.com/kubernetes-engine/docs/deprecations/vulnerability-scanning-gkee
            "vulnerability_mode": "VULNERABILITY_DISABLED",
        },
    }


def _telemetry(settings: ClusterSettings, events: Topic) -> Block:
    """Logs, metrics and events."""
    control_plane = ("APISERVER", "SCHEDULER", "CONTROLLER_MANAGER")
    chosen = control_plane if settings.control_plane_telemetry else ()
    return {
        "logging_config": {"enable_components": ["SYSTEM_COMPONENTS", "WORKLOADS", *chosen]},
        "monitoring_config": {
            # Its own metrics, and the states of workloads that alerts use.
            # https://cloud.google.com/stackdriver/docs/solutions/gke/managing-metrics
            "enable_components": ["SYSTEM_COMPONENTS", "DEPLOYMENT", "HPA", "POD", *chosen],
            "managed_prometheus": {"enabled": True},
            # Metrics of the connections that network policies refuse.
            "advanced_datapath_observability_config": {"enable_metrics": True, "enable_relay": False},
        },
        # For programs; people are mailed by an alert on the log of the same events. The role that Google
        # gives to GKE's service agent suffices to publish.
        "notification_config": {"pubsub": {"enabled": True, "topic": events.path}},
    }


def _maintenance(settings: ClusterMaintenance) -> Block:
    """A weekly window for upgrades, outside of the exclusions."""
    first = SOME_MONDAY + timedelta(days=WEEK.index(settings.days[0]))
    end = first + timedelta(days=(settings.start_hour + settings.hours) // 24)
    exclusions = [
        {
            "exclusion_name": each.name,
            "start_time": _instant(each.start),
            "end_time": _instant(each.end),
            "exclusion_options": {"scope": "NO_UPGRADES"},
        }
        for each in settings.exclusions
    ]
    return {
        # The first window; the recurrence repeats it.
        "recurring_window": {
            "start_time": _instant(first, settings.start_hour),
            "end_time": _instant(end, (settings.start_hour + settings.hours) % 24),
            "recurrence": f"FREQ=WEEKLY;BYDAY={','.join(settings.days)}",
        },
        "maintenance_exclusion": exclusions or None,
    }


def _instant(day: date, hour: int = 0) -> str:
    return f"{day.isoformat()}T{hour:02}:00:00Z"
