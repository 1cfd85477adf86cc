"""A service on the cluster: Deployment, Service, autoscalers, disruption budget, metrics, service account.

And the compute class by which its pods ask for spot nodes.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

from infra.cdk import Block, Construct, TerraformResource, kubernetes
from infra.cdk.waivers import waive
from infra.environment.cluster import SPOT_POOLS
from infra.environment.services import WorkloadSettings
from infra.google.node_pool import CLASS_KEY, SPOT_CLASS
from infra.kubernetes.autoscaling import horizontal, vertical
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.pod import pod
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from services.contracts.settings import ServerSettings

_PORT_NAME: Final = "http"

SERVICE_PORT: Final = 80
"""Port of every Service. Containers listen on another port, since only root may use this one."""


class SpotFirst(Construct):
    """Spot nodes first, others while there are none, and back to spot nodes when they can be had again.

    A preference of the pods would not do: the autoscaler ignores it, so spot nodes would never be added.
    """

    def __init__(self, scope: Construct, id_: str, *, labels: Mapping[str, str]):
        super().__init__(scope, id_)
        # It must exist before a pod asks for it.
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


class Workload(Construct):
    """Autoscaled pods of one service, with their own identity.

    Args:
        id_: its id; the name of everything it has in the cluster, and of its folder of services/.
        settings: of the service, passed as environment variables.
        spot: nodes that may vanish; only for services that lose no work then.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: Namespace,
        image: str,
        settings: ServerSettings,
        size: WorkloadSettings,
        spot: SpotFirst | None = None,
    ):
        super().__init__(scope, id_)
        self.name: Final = id_
        self.size: Final = size
        self.selector: Final = {"app.kubernetes.io/name": id_}
        self.namespace: Final = namespace
        self._labels = {**namespace.labels, **self.selector}
        account, self.identity = namespace.service_account(self, name=id_, labels=self._labels)
        pods = self._pods(image, settings, spot=spot is not None)
        self._deploy(pods, after=[account, spot.resource] if spot else [account])
        # A manifest, since Terraform's resource does not know the policy: pods that are not ready, without a
        # model for example, would keep a node from being drained.
        namespace.custom_object(
            self,
            "disruption-budget",
            api="policy/v1",
            kind="PodDisruptionBudget",
            name=id_,
            # Not minAvailable 1: a node with the only pod could never be drained.
            spec={
                "maxUnavailable": 1,
                "selector": {"matchLabels": self.selector},
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        )
        namespace.custom_object(
            self,
            "monitoring",
            api="monitoring.googleapis.com/v1",
            kind="PodMonitoring",
            name=id_,  # which becomes the label `job` of the metrics
            spec={
                "selector": {"matchLabels": self.selector},
                "endpoints": [{"port": _PORT_NAME, "path": METRICS_PATH, "interval": "30s"}],
            },
        )

    def _pods(self, image: str, settings: ServerSettings, *, spot: bool) -> Block:
        """Spec of the pods, with their probes."""
        size = self.size
        spec = pod(
            self.name,
            image=image,
            module=f"services.{self.name}",
            settings=settings,
            cpu=size.cpu,
            memory=size.memory,
            tmp="64Mi",
        )
        alive, ready = ({"path": path, "port": _PORT_NAME} for path in (LIVENESS_PATH, READINESS_PATH))
        often = {"period_seconds": 2, "timeout_seconds": 2}
        spec["container"][0] |= {
            "port": [{"name": _PORT_NAME, "container_port": size.port}],
            # Liveness probes begin when the startup probe succeeds: a slow start is no reason to restart. A
            # node that pulls its image and starts other containers has two minutes.
            "startup_probe": {"http_get": alive, "failure_threshold": 60, **often},
            "liveness_probe": {"http_get": alive, "period_seconds": 10, "timeout_seconds": 2},
            "readiness_probe": {"http_get": ready, **often},
        }
        spec |= {
            # On SIGTERM the service answers 503 to readiness probes and drains; then its requests have 25 s.
            "termination_grace_period_seconds": int(settings.drain_seconds) + 25,
            "topology_spread_constraint": [
                {
                    "max_skew": 1,
                    "topology_key": topology,
                    "when_unsatisfiable": "ScheduleAnyway",  # pods in one zone are better than none
                    "label_selector": [{"match_labels": self.selector}],
                    # Count the pods of one rollout only: those that it replaces are about to stop.
                    "match_label_keys": ["pod-template-hash"],
                }
                for topology in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ],
        }
        if spot:
            taint = {"key": CLASS_KEY, "operator": "Equal", "value": SPOT_CLASS, "effect": "NoSchedule"}
            spec |= {"node_selector": {CLASS_KEY: SPOT_CLASS}, "toleration": [taint]}
        return spec

    def _deploy(self, pods: Block, *, after: Sequence[TerraformResource]) -> None:
        metadata = {"name": self.name, "namespace": self.namespace.name, "labels": self._labels}
        deployment = kubernetes.deployment_v1.DeploymentV1(
            self,
            "Default",
            metadata=metadata,
            # Pods are ready once a model is published, which takes the batch pipeline. `scripts/verify` waits
            # for them: Terraform would fail after ten minutes, and replace healthy pods the next time.
            wait_for_rollout=False,
            # Without replicas: the autoscaler sets them.
            spec={
                "selector": {"match_labels": self.selector},
                # A new pod is ready before an old one is removed: capacity never drops.
                "strategy": {
                    "type": "RollingUpdate",
                    "rolling_update": {"max_surge": "25%", "max_unavailable": "0"},
                },
                "template": {"metadata": {"labels": self._labels}, "spec": pods},
            },
            depends_on=after,
        )
        waive(deployment, {"CKV_K8S_11": "idle CPU is free, throttling is latency; the request is the share"})
        kubernetes.horizontal_pod_autoscaler_v2.HorizontalPodAutoscalerV2(
            Construct(self, "autoscaler"),
            "Default",
            metadata=metadata,
            spec=horizontal(self.name, self.size),
            depends_on=[deployment],
        )
        self.namespace.custom_object(
            Construct(self, "right-sizing"),
            "Default",
            api="autoscaling.k8s.io/v1",
            kind="VerticalPodAutoscaler",
            name=self.name,
            spec=vertical(self.name),
            after=[deployment],
        )

    @cached_property
    def service(self) -> kubernetes.service_v1.ServiceV1:
        """The Service in front of the pods; created on first use."""
        return kubernetes.service_v1.ServiceV1(
            self,
            "service",
            metadata={"name": self.name, "namespace": self.namespace.name, "labels": self._labels},
            spec={
                "type": "ClusterIP",
                "selector": self.selector,
                "port": [{"name": _PORT_NAME, "port": SERVICE_PORT, "target_port": _PORT_NAME}],
            },
            depends_on=[self.namespace.resource],
        )
