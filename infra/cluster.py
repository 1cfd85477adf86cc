"""The Kubernetes cluster: GKE Standard, regional, with private nodes."""

from collections.abc import Sequence
from typing import Final

from infra.identity import Account
from infra.network import PODS_RANGE, SERVICES_RANGE, Network
from infra.providers import (
    Construct,
    ContainerCluster,
    ContainerClusterControlPlaneEndpointsConfig,
    ContainerClusterControlPlaneEndpointsConfigDnsEndpointConfig,
    ContainerClusterControlPlaneEndpointsConfigIpEndpointsConfig,
    ContainerClusterGatewayApiConfig,
    ContainerClusterIpAllocationPolicy,
    ContainerClusterPrivateClusterConfig,
    ContainerClusterReleaseChannel,
    ContainerClusterWorkloadIdentityConfig,
    ContainerNodePool,
    ContainerNodePoolAutoscaling,
    ContainerNodePoolManagement,
    ContainerNodePoolNodeConfig,
    ContainerNodePoolNodeConfigShieldedInstanceConfig,
    ContainerNodePoolNodeConfigWorkloadMetadataConfig,
)
from infra.sections import NodePool

SPOT_KEY: Final = "cloud.google.com/gke-spot"
"""Label that GKE gives to spot nodes, and key of their taint (effect `NoSchedule`)."""
SPOT_VALUE: Final = "true"


class Cluster(Construct):
    """A cluster with one autoscaled node pool.

    Args:
        scope: where it belongs.
        id_: its id there.
        name: of the cluster.
        project: of the cluster.
        region: of its control plane.
        zones: of its nodes.
        network: of its nodes, pods and services.
        nodes: size of the node pool.
        node_account: as whom nodes run.
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
        nodes: NodePool,
        node_account: Account,
        protected: bool,
    ):
        super().__init__(scope, id_)
        self._resource = ContainerCluster(
            self,
            "Default",
            name=name,
            location=region,
            node_locations=list(zones),
            network=network.path,
            subnetwork=network.subnet,
            ip_allocation_policy=ContainerClusterIpAllocationPolicy(
                cluster_secondary_range_name=PODS_RANGE, services_secondary_range_name=SERVICES_RANGE
            ),
            # A change of a node pool inside the cluster resource recreates the cluster: pools stand apart,
            # and the default one, which the API insists on creating, is removed.
            remove_default_node_pool=True,
            initial_node_count=1,
            private_cluster_config=ContainerClusterPrivateClusterConfig(enable_private_nodes=True),
            # The control plane answers by its DNS name only, to whom IAM lets in: CI reaches it from
            # anywhere, and no list of addresses has to be kept.
            control_plane_endpoints_config=ContainerClusterControlPlaneEndpointsConfig(
                dns_endpoint_config=ContainerClusterControlPlaneEndpointsConfigDnsEndpointConfig(
                    allow_external_traffic=True
                ),
                ip_endpoints_config=ContainerClusterControlPlaneEndpointsConfigIpEndpointsConfig(
                    enabled=False
                ),
            ),
            workload_identity_config=ContainerClusterWorkloadIdentityConfig(
                workload_pool=f"{project}.svc.id.goog"
            ),
            gateway_api_config=ContainerClusterGatewayApiConfig(channel="CHANNEL_STANDARD"),
            datapath_provider="ADVANCED_DATAPATH",  # Dataplane V2: it enforces network policies
            release_channel=ContainerClusterReleaseChannel(channel="REGULAR"),
            deletion_protection=protected,
        )
        ContainerNodePool(
            self,
            "general",
            name="general",
            cluster=self._resource.id,
            autoscaling=ContainerNodePoolAutoscaling(
                min_node_count=nodes.min_nodes, max_node_count=nodes.max_nodes
            ),
            management=ContainerNodePoolManagement(auto_repair=True, auto_upgrade=True),
            node_config=ContainerNodePoolNodeConfig(
                machine_type=nodes.machine_type,
                service_account=node_account.email,
                # What nodes may do is up to IAM; scopes would limit it a second time.
                oauth_scopes=["https://www.googleapis.com/auth/cloud-platform"],
                shielded_instance_config=ContainerNodePoolNodeConfigShieldedInstanceConfig(
                    enable_secure_boot=True, enable_integrity_monitoring=True
                ),
                # Pods get their own identity, never the node's.
                workload_metadata_config=ContainerNodePoolNodeConfigWorkloadMetadataConfig(
                    mode="GKE_METADATA"
                ),
            ),
            depends_on=node_account.depends_on(),
        )

    @property
    def dns_name(self) -> str:
        """Name of the control plane. Google chooses it: in other stacks this is read from the state."""
        return self._resource.control_plane_endpoints_config.dns_endpoint_config.endpoint
