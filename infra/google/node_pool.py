"""Node pools of a GKE cluster."""

from collections.abc import Mapping
from typing import Final

from infra.cdk import Block, Construct, google
from infra.environment.cluster import NODE_DISK_GB, SPOT_POOLS, NodePool
from infra.google.identity import Account

CLASS_KEY: Final = "cloud.google.com/compute-class"
"""Label and taint of the nodes of a compute class; GKE looks for both, and pods select the label."""

SPOT_CLASS: Final = "spot-first"
"""Compute class of pods that may lose their node at any time."""

HARDENED: Final[Block] = {
    # IAM decides what nodes may do; narrower scopes would limit it a second time.
    "oauth_scopes": ["https://www.googleapis.com/auth/cloud-platform"],
    # A modified boot loader, kernel or driver does not start.
    "shielded_instance_config": {"enable_secure_boot": True, "enable_integrity_monitoring": True},
    # Pods get their own identity, never that of the node.
    "workload_metadata_config": {"mode": "GKE_METADATA"},
}
"""Configuration of all nodes."""


def add_node_pool(
    scope: Construct,
    name: str,
    settings: NodePool,
    *,
    cluster: google.container_cluster.ContainerCluster,
    zones: int,
    labels: Mapping[str, str],
    account: Account,
) -> None:
    """Add an autoscaled node pool to a cluster; the first of `SPOT_POOLS` has spot machines."""
    spot = name == SPOT_POOLS[0]
    of_class = name in SPOT_POOLS
    google.container_node_pool.ContainerNodePool(
        scope,
        name,
        name=name,
        cluster=cluster.id,
        # Per zone. The autoscaler does not raise an empty pool to its minimum:
        # https://github.com/hashicorp/terraform-provider-google/issues/8270
        initial_node_count=-(-settings.min_nodes // zones),
        # A later change of the limits must not replace the pool.
        lifecycle={"ignore_changes": ["initial_node_count"]},
        autoscaling={
            "total_min_node_count": settings.min_nodes,
            "total_max_node_count": settings.max_nodes,
            # Balanced nodes survive the loss of a zone. Spot machines come from any zone that has some.
            "location_policy": "ANY" if spot else "BALANCED",
        },
        management={"auto_repair": True, "auto_upgrade": True},
        upgrade_settings=_upgrade(settings),
        node_config={
            "machine_type": settings.machine_type,
            "disk_size_gb": NODE_DISK_GB,
            "disk_type": "pd-balanced",
            "image_type": "COS_CONTAINERD",
            # Image streaming: a container starts before all of its image is there.
            "gcfs_config": {"enabled": True},
            "spot": spot,
            "labels": {CLASS_KEY: SPOT_CLASS} if of_class else None,
            "taint": [{"key": CLASS_KEY, "value": SPOT_CLASS, "effect": "NO_SCHEDULE"}] if of_class else None,
            "service_account": account.email,
            "resource_labels": labels,
            **HARDENED,
            "kubelet_config": {
                "cpu_cfs_quota": True,  # otherwise limits on CPU are not enforced
                "insecure_kubelet_readonly_port_enabled": "FALSE",  # it would show without a login what runs
            },
        },
    )


def _upgrade(settings: NodePool) -> Block:
    if settings.upgrade == "SURGE":
        # A new node is added before an old one is removed, so capacity never drops.
        return {"strategy": "SURGE", "max_surge": 1, "max_unavailable": 0}
    return {
        "strategy": "BLUE_GREEN",
        "blue_green_settings": {
            "standard_rollout_policy": {"batch_percentage": 0.25, "batch_soak_duration": "300s"},
            # The old nodes stay, empty, for an hour: time to roll back.
            "node_pool_soak_duration": "3600s",
        },
    }
