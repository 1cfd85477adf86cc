"""The order in which GKE adds nodes for the pods that ask for it."""

from collections.abc import Mapping
from typing import Final

from infra.cdk import Construct, kubernetes
from infra.environment.cluster import SPOT_POOLS
from infra.google.node_pool import SPOT_CLASS


class SpotFirst(Construct):
    """Spot nodes first, others while there are none, and back to spot nodes when they can be had again.

    A preference of the pods would not do: the autoscaler ignores it, so spot nodes would never be added.

    Attributes:
        resource: the class, which must exist before a pod asks for it.
    """

    def __init__(self, scope: Construct, id_: str, *, labels: Mapping[str, str]):
        super().__init__(scope, id_)
        self.resource: Final = kubernetes.manifest.Manifest(
            self,
            "Default",
            manifest={
                "apiVersion": "cloud.google.com/v1",
                "kind": "ComputeClass",
                "metadata": {"name": SPOT_CLASS, "labels": labels},  # of the whole cluster
                "spec": {
                    "priorities": [{"nodepools": [pool]} for pool in SPOT_POOLS],
                    "activeMigration": {"optimizeRulePriority": True},
                    "whenUnsatisfiable": "DoNotScaleUp",  # the two pools have limits on purpose
                },
            },
        )
