"""The Kubernetes cluster without its workloads: the kubernetes provider needs an existing cluster."""

from typing import Final

from infra.cdk import App, TerraformResource
from infra.cdk.stack import PlatformStack
from infra.environment.cluster import ClusterSettings
from infra.google.binary_authorization import ImagePolicy
from infra.google.cluster import Cluster
from infra.google.identity import Account, ServiceAgent, propagated
from stacks.foundation import FoundationStack
from stacks.registry import RegistryStack


class ClusterStack(PlatformStack):
    """A cluster whose nodes run as an account that pulls images and writes logs and metrics."""

    def __init__(
        self,
        scope: App,
        settings: ClusterSettings,
        foundation: FoundationStack,
        registry: RegistryStack | None,
    ):
        super().__init__(scope, "cluster", environment=foundation.environment)
        key = foundation.key
        nodes = Account(self, "nodes")
        grants: list[TerraformResource] = [registry.images.grant_read(nodes)] if registry else []
        if key:
            grants += key.grant_use(ServiceAgent(self, "gke", service="container-engine-robot"))
            if settings.backup:
                grants += key.grant_use(ServiceAgent(self, "gke-backup", service="gcp-sa-gkebackup"))
        self.cluster: Final = Cluster(
            self,
            "cluster",
            settings=settings,
            zones=self.environment.zones,
            network=foundation.network,
            labels=self.labels,
            node_account=nodes,
            key=key,
            after=[propagated(self, grants)] if key else grants,
        )
        if settings.binary_authorization:
            ImagePolicy(self, "image-policy", attestor=self.environment.attestor)
