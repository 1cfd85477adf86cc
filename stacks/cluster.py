"""The Kubernetes cluster, apart from what runs on it: the kubernetes provider needs one that exists."""

from pathlib import Path
from typing import Final

from infra.cluster import Cluster
from infra.environment import Environment
from infra.identity import Account
from infra.network import Network
from infra.providers import App
from infra.registry import ImageRepository
from infra.stack import PLATFORM, PlatformStack


class ClusterStack(PlatformStack):
    """A cluster whose nodes pull images as an account that may do little else."""

    def __init__(
        self,
        scope: App,
        environment: Environment,
        simulator_home: Path,
        *,
        network: Network,
        images: ImageRepository,
    ):
        super().__init__(scope, "cluster", environment=environment, simulator_home=simulator_home)
        nodes = Account(
            self,
            "nodes",
            name=f"{PLATFORM}-nodes",
            project=environment.project_id,
            description="Nodes of the cluster",
        )
        # To write logs and metrics, which belong to the project and not to a resource of their own.
        nodes.grant_project_role("roles/container.defaultNodeServiceAccount")
        images.grant_read(nodes)
        self.cluster: Final = Cluster(
            self,
            "cluster",
            name=PLATFORM,
            project=environment.project_id,
            region=environment.region,
            zones=environment.zones,
            network=network,
            nodes=environment.node_pool,
            node_account=nodes,
            protected=environment.deletion_protection,
        )
