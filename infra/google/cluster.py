"""The Kubernetes cluster: GKE Standard, regional, with private nodes."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from infra.cdk import Construct, TerraformResource, TerraformResourceLifecycle, google
from infra.cdk.waivers import waive
from infra.environment.addresses import PODS_PER_NODE
from infra.environment.cluster import (
    AutoProvisioning,
    ClusterMaintenance,
    ClusterMaintenanceExclusion,
    ClusterSettings,
    NodePool,
)
from infra.environment.value_types import SOME_MONDAY, WEEK
from infra.google.backup import BackupPlan
from infra.google.identity import Account
from infra.google.key import Key
from infra.google.network import PODS_RANGE, SERVICES_RANGE, Network

gke = google.container_cluster
node_pool = google.container_node_pool

SPOT_KEY: Final = "cloud.google.com/gke-spot"
"""Label that GKE gives to spot nodes, and key of their taint (effect `NoSchedule`)."""

SPOT_VALUE: Final = "true"

# What nodes may do is up to IAM; scopes would limit it a second time.
_OAUTH_SCOPES: Final = ["https://www.googleapis.com/auth/cloud-platform"]

_DISK_TYPE: Final = "pd-balanced"

# https://cloud.google.com/stackdriver/docs/solutions/gke/managing-metrics
_METRICS: Final = ("SYSTEM_COMPONENTS", "DEPLOYMENT", "HPA", "POD")
"""Metrics of every cluster: its own, and the states of workloads that alerts ask for."""
_LOGS: Final = ("SYSTEM_COMPONENTS", "WORKLOADS")
_CONTROL_PLANE: Final = ("APISERVER", "SCHEDULER", "CONTROLLER_MANAGER")


class Cluster(Construct):
    """A cluster with autoscaled node pools and, at choice, pools that GKE makes by itself.

    Args:
        scope: where it belongs.
        id_: its id there.
        name: of the cluster.
        project: of the cluster.
        region: of its control plane.
        zones: of its nodes.
        network: of its nodes, pods and services.
        settings: sizes, limits, maintenance and what else differs between environments.
        labels: of the machines, by which they appear on the bill.
        node_account: as whom nodes run.
        key: with which Secrets and backups are encrypted; Google's own without one.
        after: the grants without which it cannot be made, or its nodes do not start.
        protected: refuse to destroy it.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        project: str,
        region: str,
        zones: Sequence[str],
        network: Network,
        settings: ClusterSettings,
        labels: Mapping[str, str],
        node_account: Account,
        key: Key | None,
        after: Sequence[TerraformResource],
        protected: bool,
    ):
        super().__init__(scope, id_)
        self._account = node_account
        self._labels = labels
        control_plane = _CONTROL_PLANE if settings.control_plane_telemetry else ()
        self.name: Final = name
        self._resource = gke.ContainerCluster(
            self,
            "Default",
            name=name,
            location=region,
            node_locations=list(zones),
            deletion_protection=protected,
            release_channel=gke.ContainerClusterReleaseChannel(channel=settings.release_channel),
            maintenance_policy=_maintenance(settings.maintenance),
            # A change of a node pool inside the cluster resource recreates the cluster: pools stand apart,
            # and the default one, which the API insists on creating, is removed. While it lives it runs as
            # our account: the project's default one has too many rights, or is switched off. Once it is gone
            # there is nothing left to compare its configuration with.
            remove_default_node_pool=True,
            initial_node_count=1,
            node_config=gke.ContainerClusterNodeConfig(
                service_account=node_account.email,
                oauth_scopes=_OAUTH_SCOPES,
                shielded_instance_config=gke.ContainerClusterNodeConfigShieldedInstanceConfig(
                    enable_secure_boot=True, enable_integrity_monitoring=True
                ),
                workload_metadata_config=gke.ContainerClusterNodeConfigWorkloadMetadataConfig(
                    mode="GKE_METADATA"
                ),
            ),
            lifecycle=TerraformResourceLifecycle(ignore_changes=["node_config"]),
            depends_on=after,
            # --- network
            network=network.path,
            subnetwork=network.subnet,
            ip_allocation_policy=gke.ContainerClusterIpAllocationPolicy(
                cluster_secondary_range_name=PODS_RANGE, services_secondary_range_name=SERVICES_RANGE
            ),
            default_max_pods_per_node=PODS_PER_NODE,  # the range of pods is sized for it
            private_cluster_config=gke.ContainerClusterPrivateClusterConfig(enable_private_nodes=True),
            # The control plane answers by its DNS name only, to whom IAM lets in: CI reaches it from
            # anywhere, and no list of addresses has to be kept.
            control_plane_endpoints_config=gke.ContainerClusterControlPlaneEndpointsConfig(
                dns_endpoint_config=gke.ContainerClusterControlPlaneEndpointsConfigDnsEndpointConfig(
                    allow_external_traffic=True
                ),
                ip_endpoints_config=gke.ContainerClusterControlPlaneEndpointsConfigIpEndpointsConfig(
                    enabled=False
                ),
            ),
            datapath_provider="ADVANCED_DATAPATH",  # Dataplane V2: it enforces network policies
            enable_intranode_visibility=True,  # flow logs miss traffic between pods of a node otherwise
            gateway_api_config=gke.ContainerClusterGatewayApiConfig(channel="CHANNEL_STANDARD"),
            # --- who may do what
            workload_identity_config=gke.ContainerClusterWorkloadIdentityConfig(
                workload_pool=f"{project}.svc.id.goog"
            ),
            # Nobody unknown gets further than the health checks, and no binding can change that.
            anonymous_authentication_config=gke.ContainerClusterAnonymousAuthenticationConfig(mode="LIMITED"),
            rbac_binding_config=gke.ContainerClusterRbacBindingConfig(
                enable_insecure_binding_system_authenticated=False,
                enable_insecure_binding_system_unauthenticated=False,
            ),
            binary_authorization=gke.ContainerClusterBinaryAuthorization(
                evaluation_mode="PROJECT_SINGLETON_POLICY_ENFORCE"
            )
            if settings.binary_authorization
            else None,
            database_encryption=gke.ContainerClusterDatabaseEncryption(state="ENCRYPTED", key_name=key.path)
            if key
            else None,
            security_posture_config=gke.ContainerClusterSecurityPostureConfig(
                mode="BASIC",  # audits workloads for concerns of configuration
                # Images are scanned in their repository; GKE's own scanner was shut down in 2025.
                # https://cloud.google.com/kubernetes-engine/docs/deprecations/vulnerability-scanning-gkee
                vulnerability_mode="VULNERABILITY_DISABLED",
            ),
            # --- size
            cluster_autoscaling=self._autoscaling(settings, zones),
            node_pool_auto_config=gke.ContainerClusterNodePoolAutoConfig(
                node_kubelet_config=gke.ContainerClusterNodePoolAutoConfigNodeKubeletConfig(
                    insecure_kubelet_readonly_port_enabled="FALSE"
                )
            )
            if settings.auto_provisioning
            else None,
            vertical_pod_autoscaling=gke.ContainerClusterVerticalPodAutoscaling(enabled=True),
            # --- what is seen of it
            logging_config=gke.ContainerClusterLoggingConfig(enable_components=[*_LOGS, *control_plane]),
            monitoring_config=gke.ContainerClusterMonitoringConfig(
                enable_components=[*_METRICS, *control_plane],
                managed_prometheus=gke.ContainerClusterMonitoringConfigManagedPrometheus(enabled=True),
                # Connections that network policies refused show as metrics.
                advanced_datapath_observability_config=(
                    gke.ContainerClusterMonitoringConfigAdvancedDatapathObservabilityConfig(
                        enable_metrics=True, enable_relay=False
                    )
                ),
            ),
            cost_management_config=gke.ContainerClusterCostManagementConfig(
                enabled=True  # the bill names namespaces and workloads
            ),
            addons_config=gke.ContainerClusterAddonsConfig(
                gke_backup_agent_config=gke.ContainerClusterAddonsConfigGkeBackupAgentConfig(
                    enabled=settings.backup is not None
                )
            ),
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
        for key_, pool in settings.pools.items():
            self._pool(key_, pool, zones=len(zones))
        if settings.backup:
            BackupPlan(
                self,
                "backup",
                name=name,
                region=region,
                cluster=self._resource,
                settings=settings.backup,
                key=key,
            )

    @property
    def dns_name(self) -> str:
        """Name of the control plane. Google chooses it: in other stacks this is read from the state."""
        return self._resource.control_plane_endpoints_config.dns_endpoint_config.endpoint

    def _pool(self, name: str, pool: NodePool, *, zones: int) -> None:
        spot = name == "spot"
        node_pool.ContainerNodePool(
            self,
            name,
            name=name,
            cluster=self._resource.id,
            # Of each zone. The autoscaler keeps the fewest but makes none: an empty pool would stay so.
            # https://github.com/hashicorp/terraform-provider-google/issues/8270
            initial_node_count=-(-pool.min_nodes // zones),
            # Whoever changes the limits later does not want a new pool.
            lifecycle=TerraformResourceLifecycle(ignore_changes=["initial_node_count"]),
            autoscaling=node_pool.ContainerNodePoolAutoscaling(
                total_min_node_count=pool.min_nodes,
                total_max_node_count=pool.max_nodes,
                # Spread, to outlive a zone; of spot machines whatever can be had.
                location_policy="ANY" if spot else "BALANCED",
            ),
            management=node_pool.ContainerNodePoolManagement(auto_repair=True, auto_upgrade=True),
            upgrade_settings=_upgrade(pool),
            node_config=node_pool.ContainerNodePoolNodeConfig(
                machine_type=pool.machine_type,
                disk_size_gb=pool.disk_gb,
                disk_type=_DISK_TYPE,
                image_type="COS_CONTAINERD",
                spot=spot,
                # Only pods that can do without their node at any moment.
                taint=[
                    node_pool.ContainerNodePoolNodeConfigTaint(
                        key=SPOT_KEY, value=SPOT_VALUE, effect="NO_SCHEDULE"
                    )
                ]
                if spot
                else None,
                service_account=self._account.email,
                oauth_scopes=_OAUTH_SCOPES,
                resource_labels=self._labels,
                # A changed boot loader, kernel or driver does not start.
                shielded_instance_config=node_pool.ContainerNodePoolNodeConfigShieldedInstanceConfig(
                    enable_secure_boot=True, enable_integrity_monitoring=True
                ),
                # Pods get their own identity, never the node's.
                workload_metadata_config=node_pool.ContainerNodePoolNodeConfigWorkloadMetadataConfig(
                    mode="GKE_METADATA"
                ),
                kubelet_config=node_pool.ContainerNodePoolNodeConfigKubeletConfig(
                    insecure_kubelet_readonly_port_enabled="FALSE",  # it told anybody what runs here
                ),
            ),
        )

    def _autoscaling(
        self, settings: ClusterSettings, zones: Sequence[str]
    ) -> gke.ContainerClusterClusterAutoscaling:
        limits = settings.auto_provisioning
        if limits is None:
            return gke.ContainerClusterClusterAutoscaling(
                enabled=False, autoscaling_profile=settings.autoscaling_profile
            )
        return gke.ContainerClusterClusterAutoscaling(
            enabled=True,
            autoscaling_profile=settings.autoscaling_profile,
            auto_provisioning_locations=list(zones),
            resource_limits=_limits(limits),
            # As the pools of our own.
            auto_provisioning_defaults=gke.ContainerClusterClusterAutoscalingAutoProvisioningDefaults(
                service_account=self._account.email,
                oauth_scopes=_OAUTH_SCOPES,
                disk_size=settings.general.disk_gb,
                disk_type=_DISK_TYPE,
                image_type="COS_CONTAINERD",
                management=gke.ContainerClusterClusterAutoscalingAutoProvisioningDefaultsManagement(
                    auto_repair=True, auto_upgrade=True
                ),
                upgrade_settings=gke.ContainerClusterClusterAutoscalingAutoProvisioningDefaultsUpgradeSettings(
                    strategy="SURGE", max_surge=1, max_unavailable=0
                ),
                shielded_instance_config=(
                    gke.ContainerClusterClusterAutoscalingAutoProvisioningDefaultsShieldedInstanceConfig(
                        enable_secure_boot=True, enable_integrity_monitoring=True
                    )
                ),
            ),
        )


def _limits(
    limits: AutoProvisioning,
) -> list[gke.ContainerClusterClusterAutoscalingResourceLimits]:
    return [
        gke.ContainerClusterClusterAutoscalingResourceLimits(resource_type="cpu", maximum=limits.max_cpus),
        gke.ContainerClusterClusterAutoscalingResourceLimits(
            resource_type="memory", maximum=limits.max_memory_gb
        ),
    ]


def _upgrade(pool: NodePool) -> node_pool.ContainerNodePoolUpgradeSettings:
    if pool.upgrade == "SURGE":
        # A new node first, then the old one goes: there are never fewer.
        return node_pool.ContainerNodePoolUpgradeSettings(strategy="SURGE", max_surge=1, max_unavailable=0)
    return node_pool.ContainerNodePoolUpgradeSettings(
        strategy="BLUE_GREEN",
        blue_green_settings=node_pool.ContainerNodePoolUpgradeSettingsBlueGreenSettings(
            standard_rollout_policy=node_pool.ContainerNodePoolUpgradeSettingsBlueGreenSettingsStandardRolloutPolicy(
                batch_percentage=0.25, batch_soak_duration="300s"
            ),
            # The old nodes wait empty for an hour, to go back to.
            node_pool_soak_duration="3600s",
        ),
    )


def _maintenance(
    maintenance: ClusterMaintenance,
) -> gke.ContainerClusterMaintenancePolicy:
    first = SOME_MONDAY + timedelta(days=WEEK.index(maintenance.days[0]))
    end = first + timedelta(days=(maintenance.start_hour + maintenance.hours) // 24)
    return gke.ContainerClusterMaintenancePolicy(
        # The first of the windows; the others repeat it.
        recurring_window=gke.ContainerClusterMaintenancePolicyRecurringWindow(
            start_time=_instant(first, maintenance.start_hour),
            end_time=_instant(end, (maintenance.start_hour + maintenance.hours) % 24),
            recurrence=f"FREQ=WEEKLY;BYDAY={','.join(maintenance.days)}",
        ),
        maintenance_exclusion=[_exclusion(each) for each in maintenance.exclusions] or None,
    )


def _exclusion(
    exclusion: ClusterMaintenanceExclusion,
) -> gke.ContainerClusterMaintenancePolicyMaintenanceExclusion:
    return gke.ContainerClusterMaintenancePolicyMaintenanceExclusion(
        exclusion_name=exclusion.name,
        start_time=_instant(exclusion.start),
        end_time=_instant(exclusion.end),
        exclusion_options=gke.ContainerClusterMaintenancePolicyMaintenanceExclusionExclusionOptions(
            scope=exclusion.scope
        ),
    )


def _instant(day: date, hour: int = 0) -> str:
    return f"{day.isoformat()}T{hour:02}:00:00Z"
