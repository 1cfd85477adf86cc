"""A service on the cluster: Deployment, Service, autoscalers, disruption budget, metrics, service account."""

from functools import cached_property
from typing import Final

import msgspec

from infra.cdk import Construct, kubernetes
from infra.cdk.waivers import waive
from infra.environment.services import WorkloadSettings
from infra.google.node_pool import SPOT_KEY, SPOT_VALUE
from infra.google.subscription import Subscription
from infra.kubernetes.autoscaling import HorizontalAutoscaler, VerticalAutoscaler
from infra.kubernetes.namespace import Namespace
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from services.contracts.settings import to_environment

apps = kubernetes.deployment_v1
service_v1 = kubernetes.service_v1

SERVICE_PORT: Final = 80
"""Port of every Service. Containers listen on another port, since only root may use this one."""

_PORT_NAME: Final = "http"

_USER: Final = 65532
"""The unprivileged user of containers: `nonroot` by the convention of distroless images."""

# Otherwise each client asks for metadata of the bucket, which its role does not include.
_NO_BUCKET_LOOKUP: Final = {"DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "1"}

_STOPPING_SECONDS: Final = 25
"""Time for a service to finish its requests after its drain."""

_STARTING_SECONDS: Final = 120
"""Time for a container to answer, on a node that pulls its image and starts other containers."""


class Workload(Construct):
    """Autoscaled pods of one service, with their own identity.

    Args:
        id_: its id; the name of everything it has in the cluster, and of its folder of services/.
        namespace: namespace of the pods.
        image: image by digest.
        settings: of the service, passed as environment variables.
        size: port, replicas, CPU, memory, and what they follow.
        drain_seconds: time for which the service still answers after SIGTERM; 0 if it has no callers.
        spot: prefer spot nodes; only for services that lose no work when a node vanishes.
        subscription: subscription that it reads, if any.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: Namespace,
        image: str,
        settings: msgspec.Struct,
        size: WorkloadSettings,
        drain_seconds: int,
        spot: bool = False,
        subscription: Subscription | None = None,
    ):
        super().__init__(scope, id_)
        self.name: Final = id_
        self.port: Final = size.port
        self.size: Final = size
        self.selector: Final = {"app.kubernetes.io/name": id_}
        self.namespace: Final = namespace
        self._labels = {**namespace.labels, **self.selector}
        self._drain_seconds = drain_seconds
        account, identity = namespace.service_account(self, name=id_, labels=self._labels)
        self.identity: Final = identity
        deployment = apps.DeploymentV1(
            self,
            "Default",
            metadata=apps.DeploymentV1Metadata(name=id_, namespace=namespace.name, labels=self._labels),
            # Pods are ready once a model is published, which takes the batch pipeline. `scripts/verify` waits
            # for them: Terraform would fail after ten minutes, and replace healthy pods the next time.
            wait_for_rollout=False,
            # Without replicas: the autoscaler sets them.
            spec=apps.DeploymentV1Spec(
                selector=apps.DeploymentV1SpecSelector(match_labels=self.selector),
                # A new pod is ready before an old one is removed: capacity never drops.
                strategy=apps.DeploymentV1SpecStrategy(
                    type="RollingUpdate",
                    rolling_update=apps.DeploymentV1SpecStrategyRollingUpdate(
                        max_surge="25%", max_unavailable="0"
                    ),
                ),
                template=apps.DeploymentV1SpecTemplate(
                    metadata=apps.DeploymentV1SpecTemplateMetadata(labels=self._labels),
                    spec=self._pod(image, settings, size, spot),
                ),
            ),
            depends_on=[account],
        )
        waive(deployment, {"CKV_K8S_11": "idle CPU is free, throttling is latency; the request is the share"})
        HorizontalAutoscaler(
            self,
            "autoscaler",
            namespace=namespace,
            deployment=deployment,
            name=id_,
            labels=self._labels,
            size=size,
            subscription=subscription,
        )
        VerticalAutoscaler(self, "right-sizing", namespace=namespace, deployment=deployment, name=id_)
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

    @cached_property
    def service(self) -> service_v1.ServiceV1:
        """The Service in front of the pods; created on first use."""
        return service_v1.ServiceV1(
            self,
            "service",
            metadata=service_v1.ServiceV1Metadata(
                name=self.name, namespace=self.namespace.name, labels=self._labels
            ),
            spec=service_v1.ServiceV1Spec(
                type="ClusterIP",
                selector=self.selector,
                port=[
                    service_v1.ServiceV1SpecPort(name=_PORT_NAME, port=SERVICE_PORT, target_port=_PORT_NAME)
                ],
            ),
            depends_on=[self.namespace.resource],
        )

    def _pod(
        self, image: str, settings: msgspec.Struct, size: WorkloadSettings, spot: bool
    ) -> apps.DeploymentV1SpecTemplateSpec:
        return apps.DeploymentV1SpecTemplateSpec(
            service_account_name=self.name,
            # Workload Identity asks the metadata server; nothing in the pod calls the Kubernetes API.
            automount_service_account_token=False,
            enable_service_links=False,  # variables of Services could shadow settings
            # On SIGTERM the service answers 503 to readiness probes, drains and then stops by itself.
            termination_grace_period_seconds=self._drain_seconds + _STOPPING_SECONDS,
            security_context=apps.DeploymentV1SpecTemplateSpecSecurityContext(
                run_as_non_root=True,
                run_as_user=str(_USER),
                run_as_group=str(_USER),
                fs_group=str(_USER),
                seccomp_profile=apps.DeploymentV1SpecTemplateSpecSecurityContextSeccompProfile(
                    type="RuntimeDefault"
                ),
            ),
            topology_spread_constraint=[
                apps.DeploymentV1SpecTemplateSpecTopologySpreadConstraint(
                    max_skew=1,
                    topology_key=topology,
                    when_unsatisfiable="ScheduleAnyway",  # pods in one zone are better than none
                    label_selector=[
                        apps.DeploymentV1SpecTemplateSpecTopologySpreadConstraintLabelSelector(
                            match_labels=self.selector
                        )
                    ],
                    # Count the pods of one rollout only: those that it replaces are about to stop.
                    match_label_keys=["pod-template-hash"],
                )
                for topology in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ],
            toleration=[
                apps.DeploymentV1SpecTemplateSpecToleration(
                    key=SPOT_KEY, operator="Equal", value=SPOT_VALUE, effect="NoSchedule"
                )
            ]
            if spot
            else None,
            affinity=_prefer_spot_nodes() if spot else None,
            container=[self._container(image, settings, size)],
            volume=[
                apps.DeploymentV1SpecTemplateSpecVolume(
                    name="tmp", empty_dir=apps.DeploymentV1SpecTemplateSpecVolumeEmptyDir(size_limit="64Mi")
                )
            ],
        )

    def _container(
        self, image: str, settings: msgspec.Struct, size: WorkloadSettings
    ) -> apps.DeploymentV1SpecTemplateSpecContainer:
        return apps.DeploymentV1SpecTemplateSpecContainer(
            name=self.name,
            image=image,
            command=["python", "-m", f"services.{self.name}"],
            env=[
                apps.DeploymentV1SpecTemplateSpecContainerEnv(name=name, value=value)
                for name, value in (to_environment(settings) | _NO_BUCKET_LOOKUP).items()
            ],
            port=[apps.DeploymentV1SpecTemplateSpecContainerPort(name=_PORT_NAME, container_port=size.port)],
            # Liveness probes begin when the startup probe succeeds: a slow start is no reason to restart.
            startup_probe=apps.DeploymentV1SpecTemplateSpecContainerStartupProbe(
                http_get=apps.DeploymentV1SpecTemplateSpecContainerStartupProbeHttpGet(
                    path=LIVENESS_PATH, port=_PORT_NAME
                ),
                period_seconds=2,
                timeout_seconds=2,
                failure_threshold=_STARTING_SECONDS // 2,
            ),
            liveness_probe=apps.DeploymentV1SpecTemplateSpecContainerLivenessProbe(
                http_get=apps.DeploymentV1SpecTemplateSpecContainerLivenessProbeHttpGet(
                    path=LIVENESS_PATH, port=_PORT_NAME
                ),
                period_seconds=10,
                timeout_seconds=2,
            ),
            readiness_probe=apps.DeploymentV1SpecTemplateSpecContainerReadinessProbe(
                http_get=apps.DeploymentV1SpecTemplateSpecContainerReadinessProbeHttpGet(
                    path=READINESS_PATH, port=_PORT_NAME
                ),
                period_seconds=2,
                timeout_seconds=2,
            ),
            resources=apps.DeploymentV1SpecTemplateSpecContainerResources(
                requests={"cpu": size.cpu, "memory": size.memory},
                limits={"memory": size.memory},  # none on CPU: idle CPU is free, throttling is latency
            ),
            security_context=apps.DeploymentV1SpecTemplateSpecContainerSecurityContext(
                allow_privilege_escalation=False,
                read_only_root_filesystem=True,
                run_as_non_root=True,
                capabilities=apps.DeploymentV1SpecTemplateSpecContainerSecurityContextCapabilities(
                    drop=["ALL"]
                ),
            ),
            volume_mount=[
                apps.DeploymentV1SpecTemplateSpecContainerVolumeMount(
                    name="tmp",
                    mount_path="/tmp",  # noqa: S108
                )
            ],
        )


def _prefer_spot_nodes() -> apps.DeploymentV1SpecTemplateSpecAffinity:
    """Prefer spot nodes; use other nodes if there are none."""
    return apps.DeploymentV1SpecTemplateSpecAffinity(
        node_affinity=apps.DeploymentV1SpecTemplateSpecAffinityNodeAffinity(
            preferred_during_scheduling_ignored_during_execution=[
                apps.DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecution(
                    weight=100,
                    preference=apps.DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionPreference(
                        match_expressions=[
                            apps.DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionPreferenceMatchExpressions(
                                key=SPOT_KEY, operator="In", values=[SPOT_VALUE]
                            )
                        ]
                    ),
                )
            ]
        )
    )
