"""The Kubernetes cluster: GKE Standard, regional, with private nodes."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from infra.cdk import Construct, TerraformResource, TerraformResourceLifecycle, google
from infra.cdk.stack import place_of
from infra.cdk.waivers import waive
from infra.environment.addresses import PODS_PER_NODE
from infra.environment.cluster import ClusterMaintenance, NodePool
from infra.environment.value_types import SOME_MONDAY, WEEK
from infra.google.backup import BackupPlan, Retention
from infra.google.identity import Account
from infra.google.key import Key
from infra.google.network import Network
from infra.google.node_pool import OAUTH_SCOPES, add_node_pool
from infra.google.topic import Topic

gke = google.container_cluster

# https://cloud.google.com/stackdriver/docs/solutions/gke/managing-metrics
_METRICS: Final = ("SYSTEM_COMPONENTS", "DEPLOYMENT", "HPA", "POD")
"""Metrics of every cluster: its own, and the states of workloads that alerts use."""
_LOGS: Final = ("SYSTEM_COMPONENTS", "WORKLOADS")
_CONTROL_PLANE: Final = ("APISERVER", "SCHEDULER", "CONTROLLER_MANAGER")


class Cluster(Construct):
    """A cluster with autoscaled node pools.

    Args:
        zones: zones of its region that its nodes are in.
        release_channel: how soon new versions of Kubernetes come.
        autoscaling_profile: whether spare nodes are kept for a while.
        control_plane_telemetry: logs and metrics of the control plane, too.
        signed_images_only: admit images by the project's policy.
        backup: how long backups are kept; none are made if absent.
        labels: labels of the machines, which the bill shows.
        key: encrypts Secrets and backups; Google's own key without one.
        after: grants without which the cluster cannot be made, or its nodes do not start.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        zones: Sequence[str],
        pools: Mapping[str, NodePool],
        maintenance: ClusterMaintenance,
        release_channel: str,
        autoscaling_profile: str,
        control_plane_telemetry: bool,
        signed_images_only: bool,
        backup: Retention | None,
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
        self._resource = gke.ContainerCluster(
            self,
            "Default",
            name=place.platform,
            location=place.region,
            node_locations=list(zones),
            deletion_protection=place.protected,
            release_channel=gke.ContainerClusterReleaseChannel(channel=release_channel),
            cost_management_config=gke.ContainerClusterCostManagementConfig(
                enabled=True  # the bill names namespaces and workloads
            ),
            addons_config=gke.ContainerClusterAddonsConfig(
                gke_backup_agent_config=gke.ContainerClusterAddonsConfigGkeBackupAgentConfig(
                    enabled=backup is not None
                )
            ),
            # For programs; people are mailed by an alert on the log of the same events. The role that Google
            # gives to GKE's service agent suffices to publish.
            notification_config=gke.ContainerClusterNotificationConfig(
                pubsub=gke.ContainerClusterNotificationConfigPubsub(enabled=True, topic=events.path)
            ),
            depends_on=[*after, events.resource],
        )
        _remove_default_pool(self._resource, node_account)
        _connect(self._resource, network)
        _restrict_access(self._resource, place.project_id, signed_images_only=signed_images_only, key=key)
        _scale(self._resource, autoscaling_profile)
        _observe(self._resource, control_plane=control_plane_telemetry)
        _maintain(self._resource, maintenance)
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
        for pool_name, pool in pools.items():
            add_node_pool(
                self,
                pool_name,
                cluster=self._resource,
                settings=pool,
                zones=len(zones),
                labels=labels,
                account=node_account,
            )
        if backup:
            BackupPlan(self, "backup", cluster=self._resource, retention=backup, key=key)

    @property
    def dns_name(self) -> str:
        """DNS name of the control plane. Google chooses it, so other stacks read it from the state."""
        return self._resource.control_plane_endpoints_config.dns_endpoint_config.endpoint


def _remove_default_pool(cluster: gke.ContainerCluster, account: Account) -> None:
    """Remove the node pool that the API insists on creating.

    Pools are resources of their own: changing a pool inside the cluster resource recreates the cluster. While
    the default pool exists it runs as our account, since the project's default account has too many rights or
    is disabled. Afterwards there is nothing to compare its configuration with, hence `ignore_changes`.
    """
    cluster.remove_default_node_pool = True
    cluster.initial_node_count = 1
    cluster.put_node_config(
        # A new project has a quota of 250 GB of SSD, which the platform's own pools need.
        disk_type="pd-standard",
        disk_size_gb=20,
        service_account=account.email,
        oauth_scopes=OAUTH_SCOPES,
        shielded_instance_config=gke.ContainerClusterNodeConfigShieldedInstanceConfig(
            enable_secure_boot=True, enable_integrity_monitoring=True
        ),
        workload_metadata_config=gke.ContainerClusterNodeConfigWorkloadMetadataConfig(mode="GKE_METADATA"),
    )
    cluster.lifecycle = TerraformResourceLifecycle(ignore_changes=["node_config"])


def _connect(cluster: gke.ContainerCluster, network: Network) -> None:
    """Put a cluster into the network, with private nodes."""
    cluster.network = network.path
    cluster.subnetwork = network.subnet
    cluster.put_ip_allocation_policy(
        cluster_secondary_range_name=network.pods, services_secondary_range_name=network.services
    )
    cluster.default_max_pods_per_node = PODS_PER_NODE  # the range of pods is sized for it
    cluster.put_private_cluster_config(enable_private_nodes=True)
    # The control plane has a DNS name only, and IAM decides who gets through: CI reaches it from anywhere,
    # and no list of addresses has to be maintained.
    cluster.put_control_plane_endpoints_config(
        dns_endpoint_config=gke.ContainerClusterControlPlaneEndpointsConfigDnsEndpointConfig(
            allow_external_traffic=True
        ),
        ip_endpoints_config=gke.ContainerClusterControlPlaneEndpointsConfigIpEndpointsConfig(enabled=False),
    )
    cluster.datapath_provider = "ADVANCED_DATAPATH"  # Dataplane V2: it enforces network policies
    cluster.enable_intranode_visibility = True  # otherwise flow logs miss traffic between pods of a node
    cluster.put_gateway_api_config(channel="CHANNEL_STANDARD")


def _restrict_access(
    cluster: gke.ContainerCluster, project_id: str, *, signed_images_only: bool, key: Key | None
) -> None:
    """Configure identities of pods, what anonymous callers may do, admission of images and encryption."""
    cluster.put_workload_identity_config(workload_pool=f"{project_id}.svc.id.goog")
    # Anonymous callers reach the health checks only, and no role binding can change that.
    cluster.put_anonymous_authentication_config(mode="LIMITED")
    cluster.put_rbac_binding_config(
        enable_insecure_binding_system_authenticated=False,
        enable_insecure_binding_system_unauthenticated=False,
    )
    if signed_images_only:
        cluster.put_binary_authorization(evaluation_mode="PROJECT_SINGLETON_POLICY_ENFORCE")
    if key:
        cluster.put_database_encryption(state="ENCRYPTED", key_name=key.path)
    cluster.put_security_posture_config(
        mode="BASIC",  # audits the configuration of workloads
        # Images are scanned in their repository; GKE's own scanner was shut down in 2025.
        # https://cloud.google.com/kubernetes-engine/docs/deprecations/vulnerability-scanning-gkee
        vulnerability_mode="VULNERABILITY_DISABLED",
    )


def _scale(cluster: gke.ContainerCluster, profile: str) -> None:
    """Configure autoscaling of nodes, and of what pods request."""
    # GKE makes no pools of its own: those of the environment have limits and hardened nodes.
    cluster.put_cluster_autoscaling(enabled=False, autoscaling_profile=profile)
    cluster.put_vertical_pod_autoscaling(enabled=True)
    # Metrics are read more often, so pods come sooner.
    cluster.put_pod_autoscaling(hpa_profile="PERFORMANCE")


def _observe(cluster: gke.ContainerCluster, *, control_plane: bool) -> None:
    """Collect logs and metrics, on request those of the control plane as well."""
    more = _CONTROL_PLANE if control_plane else ()
    cluster.put_logging_config(enable_components=[*_LOGS, *more])
    cluster.put_monitoring_config(
        enable_components=[*_METRICS, *more],
        managed_prometheus=gke.ContainerClusterMonitoringConfigManagedPrometheus(enabled=True),
        # Metrics of the connections that network policies refuse.
        advanced_datapath_observability_config=gke.ContainerClusterMonitoringConfigAdvancedDatapathObservabilityConfig(
            enable_metrics=True, enable_relay=False
        ),
    )


def _maintain(cluster: gke.ContainerCluster, maintenance: ClusterMaintenance) -> None:
    """Limit upgrades to a weekly window outside of the exclusions."""
    first = SOME_MONDAY + timedelta(days=WEEK.index(maintenance.days[0]))
    end = first + timedelta(days=(maintenance.start_hour + maintenance.hours) // 24)
    cluster.put_maintenance_policy(
        # The first window; the recurrence repeats it.
        recurring_window=gke.ContainerClusterMaintenancePolicyRecurringWindow(
            start_time=_instant(first, maintenance.start_hour),
            end_time=_instant(end, (maintenance.start_hour + maintenance.hours) % 24),
            recurrence=f"FREQ=WEEKLY;BYDAY={','.join(maintenance.days)}",
        ),
        maintenance_exclusion=[
            gke.ContainerClusterMaintenancePolicyMaintenanceExclusion(
                exclusion_name=each.name,
                start_time=_instant(each.start),
                end_time=_instant(each.end),
                exclusion_options=gke.ContainerClusterMaintenancePolicyMaintenanceExclusionExclusionOptions(
                    scope="NO_UPGRADES"
                ),
            )
            for each in maintenance.exclusions
        ]
        or None,
    )


def _instant(day: date, hour: int = 0) -> str:
    return f"{day.isoformat()}T{hour:02}:00:00Z"
