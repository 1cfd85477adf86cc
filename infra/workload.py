"""A service on the cluster: Deployment, Service, autoscalers, disruption budget, metrics, service account."""

from functools import cached_property
from typing import Final

import msgspec

from infra.autoscaling import HorizontalAutoscaler, VerticalAutoscaler
from infra.cluster import SPOT_KEY, SPOT_VALUE
from infra.namespace import Namespace
from infra.providers import (
    Construct,
    DeploymentV1,
    DeploymentV1Metadata,
    DeploymentV1Spec,
    DeploymentV1SpecSelector,
    DeploymentV1SpecStrategy,
    DeploymentV1SpecStrategyRollingUpdate,
    DeploymentV1SpecTemplate,
    DeploymentV1SpecTemplateMetadata,
    DeploymentV1SpecTemplateSpec,
    DeploymentV1SpecTemplateSpecAffinity,
    DeploymentV1SpecTemplateSpecAffinityNodeAffinity,
    DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecution,
    DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionPreference,
    DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionPreferenceMatchExpressions,
    DeploymentV1SpecTemplateSpecContainer,
    DeploymentV1SpecTemplateSpecContainerEnv,
    DeploymentV1SpecTemplateSpecContainerLifecycle,
    DeploymentV1SpecTemplateSpecContainerLifecyclePreStop,
    DeploymentV1SpecTemplateSpecContainerLifecyclePreStopExec,
    DeploymentV1SpecTemplateSpecContainerLivenessProbe,
    DeploymentV1SpecTemplateSpecContainerLivenessProbeHttpGet,
    DeploymentV1SpecTemplateSpecContainerPort,
    DeploymentV1SpecTemplateSpecContainerReadinessProbe,
    DeploymentV1SpecTemplateSpecContainerReadinessProbeHttpGet,
    DeploymentV1SpecTemplateSpecContainerResources,
    DeploymentV1SpecTemplateSpecContainerSecurityContext,
    DeploymentV1SpecTemplateSpecContainerSecurityContextCapabilities,
    DeploymentV1SpecTemplateSpecContainerStartupProbe,
    DeploymentV1SpecTemplateSpecContainerStartupProbeHttpGet,
    DeploymentV1SpecTemplateSpecContainerVolumeMount,
    DeploymentV1SpecTemplateSpecSecurityContext,
    DeploymentV1SpecTemplateSpecSecurityContextSeccompProfile,
    DeploymentV1SpecTemplateSpecToleration,
    DeploymentV1SpecTemplateSpecTopologySpreadConstraint,
    DeploymentV1SpecTemplateSpecTopologySpreadConstraintLabelSelector,
    DeploymentV1SpecTemplateSpecVolume,
    DeploymentV1SpecTemplateSpecVolumeEmptyDir,
    PodDisruptionBudgetV1,
    PodDisruptionBudgetV1Metadata,
    PodDisruptionBudgetV1Spec,
    PodDisruptionBudgetV1SpecSelector,
    ServiceV1,
    ServiceV1Metadata,
    ServiceV1Spec,
    ServiceV1SpecPort,
)
from infra.sections import WorkloadSettings
from infra.subscription import Subscription
from infra.waivers import waive
from services.contracts.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from services.contracts.settings import to_environment

SERVICE_PORT: Final = 80
"""Of every Service. What a container listens on is another port, for only root may listen on this one."""

_PORT_NAME: Final = "http"

_USER: Final = 65532
"""The unprivileged user that containers run as: `nonroot` of the images' convention."""

_PRE_STOP_SECONDS: Final = 5
"""Between the decision that a pod stops, of which load balancers are told, and SIGTERM."""

_STOPPING_SECONDS: Final = 25
"""Left to a service after its drain, to finish what it has begun."""

_STARTING_SECONDS: Final = 120
"""For a container to answer at all, on a node that pulls its image and starts others too."""


class Workload(Construct):
    """Pods of one service, as many as their load needs, with an identity of their own.

    Args:
        scope: where it belongs.
        id_: its id there; the name of everything it has in the cluster.
        namespace: in which it runs.
        image: by digest.
        module: Python module that the image runs.
        settings: of the service, passed as environment variables.
        size: port, replicas, CPU, memory, and what they follow.
        drain_seconds: how long the service goes on answering after SIGTERM; 0 if nobody calls it.
        spot: prefer nodes that may vanish; only for what loses nothing by it.
        subscription: that it reads.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: Namespace,
        image: str,
        module: str,
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
        deployment = DeploymentV1(
            self,
            "Default",
            metadata=DeploymentV1Metadata(name=id_, namespace=namespace.name, labels=self._labels),
            spec=DeploymentV1Spec(  # replicas are left out: they are the autoscaler's
                selector=DeploymentV1SpecSelector(match_labels=self.selector),
                # A new pod is ready before an old one goes: two pods at the limit are not left with one.
                strategy=DeploymentV1SpecStrategy(
                    type="RollingUpdate",
                    rolling_update=DeploymentV1SpecStrategyRollingUpdate(
                        max_surge="25%", max_unavailable="0"
                    ),
                ),
                template=DeploymentV1SpecTemplate(
                    metadata=DeploymentV1SpecTemplateMetadata(labels=self._labels),
                    spec=self._pod(image, module, settings, size, spot),
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
        if size.right_sizing != "off":
            VerticalAutoscaler(
                self,
                "right-sizing",
                namespace=namespace,
                deployment=deployment,
                name=id_,
                on=size.right_sizing == "on",
            )
        PodDisruptionBudgetV1(
            self,
            "disruption-budget",
            metadata=PodDisruptionBudgetV1Metadata(name=id_, namespace=namespace.name, labels=self._labels),
            # Not "at least one stays": that would keep a node with the only pod from ever being drained.
            spec=PodDisruptionBudgetV1Spec(
                max_unavailable="1", selector=PodDisruptionBudgetV1SpecSelector(match_labels=self.selector)
            ),
            depends_on=[namespace.resource],
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
    def service(self) -> ServiceV1:
        """One name and address of the pods inside the cluster; made when first asked for."""
        return ServiceV1(
            self,
            "service",
            metadata=ServiceV1Metadata(name=self.name, namespace=self.namespace.name, labels=self._labels),
            spec=ServiceV1Spec(
                type="ClusterIP",
                selector=self.selector,
                port=[
                    ServiceV1SpecPort(
                        name=_PORT_NAME, port=SERVICE_PORT, target_port=_PORT_NAME, app_protocol="http"
                    )
                ],
            ),
            depends_on=[self.namespace.resource],
        )

    def _pod(
        self,
        image: str,
        module: str,
        settings: msgspec.Struct,
        size: WorkloadSettings,
        spot: bool,
    ) -> DeploymentV1SpecTemplateSpec:
        return DeploymentV1SpecTemplateSpec(
            service_account_name=self.name,
            # Workload Identity asks the metadata server; nothing in the pod calls the Kubernetes API.
            automount_service_account_token=False,
            enable_service_links=False,  # a variable per Service of the namespace could shadow a setting
            termination_grace_period_seconds=self._pre_stop_seconds + self._drain_seconds + _STOPPING_SECONDS,
            security_context=DeploymentV1SpecTemplateSpecSecurityContext(
                run_as_non_root=True,
                run_as_user=str(_USER),
                run_as_group=str(_USER),
                fs_group=str(_USER),
                seccomp_profile=DeploymentV1SpecTemplateSpecSecurityContextSeccompProfile(
                    type="RuntimeDefault"
                ),
            ),
            topology_spread_constraint=[
                DeploymentV1SpecTemplateSpecTopologySpreadConstraint(
                    max_skew=1,
                    topology_key=topology,
                    when_unsatisfiable="ScheduleAnyway",  # running in one zone beats not running
                    label_selector=[
                        DeploymentV1SpecTemplateSpecTopologySpreadConstraintLabelSelector(
                            match_labels=self.selector
                        )
                    ],
                    # Those of one rollout: the pods that it replaces are about to go.
                    match_label_keys=["pod-template-hash"],
                )
                for topology in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ],
            toleration=[
                DeploymentV1SpecTemplateSpecToleration(
                    key=SPOT_KEY, operator="Equal", value=SPOT_VALUE, effect="NoSchedule"
                )
            ]
            if spot
            else None,
            affinity=_prefer_spot_nodes() if spot else None,
            container=[self._container(image, module, settings, size)],
            volume=[
                DeploymentV1SpecTemplateSpecVolume(
                    name="tmp", empty_dir=DeploymentV1SpecTemplateSpecVolumeEmptyDir(size_limit="64Mi")
                )
            ],
        )

    def _container(
        self, image: str, module: str, settings: msgspec.Struct, size: WorkloadSettings
    ) -> DeploymentV1SpecTemplateSpecContainer:
        return DeploymentV1SpecTemplateSpecContainer(
            name=self.name,
            image=image,
            command=["python", "-m", module],
            env=[
                DeploymentV1SpecTemplateSpecContainerEnv(name=name, value=value)
                for name, value in to_environment(settings).items()
            ],
            port=[DeploymentV1SpecTemplateSpecContainerPort(name=_PORT_NAME, container_port=size.port)],
            lifecycle=self._lifecycle(),
            # Until it answers, liveness is not asked: a slow start is no reason to start over.
            startup_probe=DeploymentV1SpecTemplateSpecContainerStartupProbe(
                http_get=DeploymentV1SpecTemplateSpecContainerStartupProbeHttpGet(
                    path=LIVENESS_PATH, port=_PORT_NAME
                ),
                period_seconds=2,
                timeout_seconds=2,
                failure_threshold=_STARTING_SECONDS // 2,
            ),
            liveness_probe=DeploymentV1SpecTemplateSpecContainerLivenessProbe(
                http_get=DeploymentV1SpecTemplateSpecContainerLivenessProbeHttpGet(
                    path=LIVENESS_PATH, port=_PORT_NAME
                ),
                period_seconds=10,
                timeout_seconds=2,
            ),
            readiness_probe=DeploymentV1SpecTemplateSpecContainerReadinessProbe(
                http_get=DeploymentV1SpecTemplateSpecContainerReadinessProbeHttpGet(
                    path=READINESS_PATH, port=_PORT_NAME
                ),
                period_seconds=2,
                timeout_seconds=2,
            ),
            resources=DeploymentV1SpecTemplateSpecContainerResources(
                requests={"cpu": size.cpu, "memory": size.memory},
                limits={"memory": size.memory},  # none on CPU: idle CPU is free, throttling is latency
            ),
            security_context=DeploymentV1SpecTemplateSpecContainerSecurityContext(
                allow_privilege_escalation=False,
                read_only_root_filesystem=True,
                run_as_non_root=True,
                capabilities=DeploymentV1SpecTemplateSpecContainerSecurityContextCapabilities(drop=["ALL"]),
            ),
            volume_mount=[DeploymentV1SpecTemplateSpecContainerVolumeMount(name="tmp", mount_path="/tmp")],  # noqa: S108
        )

    @property
    def _pre_stop_seconds(self) -> int:
        return _PRE_STOP_SECONDS if self._drain_seconds else 0

    def _lifecycle(self) -> DeploymentV1SpecTemplateSpecContainerLifecycle | None:
        if not self._pre_stop_seconds:
            return None
        # Kubernetes has an action of its own for this, `sleep`, but the provider does not know it yet.
        sleep = DeploymentV1SpecTemplateSpecContainerLifecyclePreStopExec(
            command=["sleep", str(self._pre_stop_seconds)]
        )
        return DeploymentV1SpecTemplateSpecContainerLifecycle(
            pre_stop=[DeploymentV1SpecTemplateSpecContainerLifecyclePreStop(exec=sleep)]
        )


def _prefer_spot_nodes() -> DeploymentV1SpecTemplateSpecAffinity:
    """Rather on nodes that may vanish than elsewhere, but elsewhere if none is up."""
    return DeploymentV1SpecTemplateSpecAffinity(
        node_affinity=DeploymentV1SpecTemplateSpecAffinityNodeAffinity(
            preferred_during_scheduling_ignored_during_execution=[
                DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecution(
                    weight=100,
                    preference=DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionPreference(
                        match_expressions=[
                            DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionPreferenceMatchExpressions(
                                key=SPOT_KEY, operator="In", values=[SPOT_VALUE]
                            )
                        ]
                    ),
                )
            ]
        )
    )
