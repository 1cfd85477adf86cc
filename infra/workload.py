"""A service on the cluster: Deployment, Service, autoscaler, disruption budget and service account."""

import math
from typing import Final

import msgspec

from infra.namespace import Namespace
from infra.providers import (
    Construct,
    DeploymentV1,
    DeploymentV1Metadata,
    DeploymentV1Spec,
    DeploymentV1SpecSelector,
    DeploymentV1SpecTemplate,
    DeploymentV1SpecTemplateMetadata,
    DeploymentV1SpecTemplateSpec,
    DeploymentV1SpecTemplateSpecContainer,
    DeploymentV1SpecTemplateSpecContainerEnv,
    DeploymentV1SpecTemplateSpecContainerLivenessProbe,
    DeploymentV1SpecTemplateSpecContainerLivenessProbeHttpGet,
    DeploymentV1SpecTemplateSpecContainerPort,
    DeploymentV1SpecTemplateSpecContainerReadinessProbe,
    DeploymentV1SpecTemplateSpecContainerReadinessProbeHttpGet,
    DeploymentV1SpecTemplateSpecContainerResources,
    DeploymentV1SpecTemplateSpecContainerSecurityContext,
    DeploymentV1SpecTemplateSpecContainerSecurityContextCapabilities,
    DeploymentV1SpecTemplateSpecContainerVolumeMount,
    DeploymentV1SpecTemplateSpecSecurityContext,
    DeploymentV1SpecTemplateSpecSecurityContextSeccompProfile,
    DeploymentV1SpecTemplateSpecTopologySpreadConstraint,
    DeploymentV1SpecTemplateSpecTopologySpreadConstraintLabelSelector,
    DeploymentV1SpecTemplateSpecVolume,
    DeploymentV1SpecTemplateSpecVolumeEmptyDir,
    HorizontalPodAutoscalerV2,
    HorizontalPodAutoscalerV2Metadata,
    HorizontalPodAutoscalerV2Spec,
    HorizontalPodAutoscalerV2SpecMetric,
    HorizontalPodAutoscalerV2SpecMetricResource,
    HorizontalPodAutoscalerV2SpecMetricResourceTarget,
    HorizontalPodAutoscalerV2SpecScaleTargetRef,
    PodDisruptionBudgetV1,
    PodDisruptionBudgetV1Metadata,
    PodDisruptionBudgetV1Spec,
    PodDisruptionBudgetV1SpecSelector,
    ServiceAccountV1,
    ServiceAccountV1Metadata,
    ServiceV1,
    ServiceV1Metadata,
    ServiceV1Spec,
    ServiceV1SpecPort,
)
from infra.sections import WorkloadSettings
from services.contracts.names import LIVENESS_PATH, READINESS_PATH
from services.contracts.settings import to_environment

_CPU_UTILIZATION: Final = 80
"""Percent of the CPU asked for at which the autoscaler adds pods."""

_USER: Final = 65532
"""The unprivileged user that containers run as: `nonroot` of the images' convention."""

_STOPPING_SECONDS: Final = 25
"""Left to a service after its drain, to finish what it has begun."""


class Workload(Construct):
    """Pods of one service, as many as their load needs, with an identity of their own.

    Args:
        scope: where it belongs.
        id_: its id there; the name of everything it has in the cluster.
        namespace: in which it runs.
        image: by digest.
        module: Python module that the image runs.
        settings: of the service, passed as environment variables.
        size: port, replicas, CPU and memory.
        drain_seconds: how long the service goes on answering after SIGTERM.
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
        drain_seconds: float = 0,
    ):
        super().__init__(scope, id_)
        self.name: Final = id_
        self.port: Final = size.port
        self.selector: Final = {"app.kubernetes.io/name": id_}
        self.namespace: Final = namespace
        self.identity: Final = namespace.identity(self, "identity", service_account=id_)
        self._labels = {**namespace.labels, **self.selector}
        account = ServiceAccountV1(
            self,
            "account",
            metadata=ServiceAccountV1Metadata(name=id_, namespace=namespace.name, labels=self._labels),
            automount_service_account_token=False,
            depends_on=[namespace.resource],
        )
        deployment = DeploymentV1(
            self,
            "Default",
            metadata=DeploymentV1Metadata(name=id_, namespace=namespace.name, labels=self._labels),
            spec=DeploymentV1Spec(  # replicas are left out: they are the autoscaler's
                selector=DeploymentV1SpecSelector(match_labels=self.selector),
                template=DeploymentV1SpecTemplate(
                    metadata=DeploymentV1SpecTemplateMetadata(labels=self._labels),
                    spec=self._pod(image, module, settings, size, drain_seconds),
                ),
            ),
            depends_on=[account],
        )
        HorizontalPodAutoscalerV2(
            self,
            "autoscaler",
            metadata=HorizontalPodAutoscalerV2Metadata(
                name=id_, namespace=namespace.name, labels=self._labels
            ),
            spec=HorizontalPodAutoscalerV2Spec(
                min_replicas=size.min_replicas,
                max_replicas=size.max_replicas,
                scale_target_ref=HorizontalPodAutoscalerV2SpecScaleTargetRef(
                    api_version="apps/v1", kind="Deployment", name=id_
                ),
                metric=[
                    HorizontalPodAutoscalerV2SpecMetric(
                        type="Resource",
                        resource=HorizontalPodAutoscalerV2SpecMetricResource(
                            name="cpu",
                            target=HorizontalPodAutoscalerV2SpecMetricResourceTarget(
                                type="Utilization", average_utilization=_CPU_UTILIZATION
                            ),
                        ),
                    )
                ],
            ),
            depends_on=[deployment],
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

    def expose(self) -> ServiceV1:
        """Give the pods one name and address inside the cluster."""
        return ServiceV1(
            self,
            "service",
            metadata=ServiceV1Metadata(name=self.name, namespace=self.namespace.name, labels=self._labels),
            spec=ServiceV1Spec(
                type="ClusterIP",
                selector=self.selector,
                port=[ServiceV1SpecPort(name="http", port=80, target_port=str(self.port))],
            ),
            depends_on=[self.namespace.resource],
        )

    def _pod(
        self,
        image: str,
        module: str,
        settings: msgspec.Struct,
        size: WorkloadSettings,
        drain_seconds: float,
    ) -> DeploymentV1SpecTemplateSpec:
        return DeploymentV1SpecTemplateSpec(
            service_account_name=self.name,
            # Workload Identity asks the metadata server; nothing in the pod calls the Kubernetes API.
            automount_service_account_token=False,
            enable_service_links=False,  # a variable per Service of the namespace could shadow a setting
            termination_grace_period_seconds=math.ceil(drain_seconds) + _STOPPING_SECONDS,
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
                    topology_key="topology.kubernetes.io/zone",
                    when_unsatisfiable="ScheduleAnyway",  # running in one zone beats not running
                    label_selector=[
                        DeploymentV1SpecTemplateSpecTopologySpreadConstraintLabelSelector(
                            match_labels=self.selector
                        )
                    ],
                )
            ],
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
            port=[DeploymentV1SpecTemplateSpecContainerPort(name="http", container_port=size.port)],
            liveness_probe=DeploymentV1SpecTemplateSpecContainerLivenessProbe(
                http_get=DeploymentV1SpecTemplateSpecContainerLivenessProbeHttpGet(
                    path=LIVENESS_PATH, port=str(size.port)
                ),
                period_seconds=10,
                timeout_seconds=2,
            ),
            readiness_probe=DeploymentV1SpecTemplateSpecContainerReadinessProbe(
                http_get=DeploymentV1SpecTemplateSpecContainerReadinessProbeHttpGet(
                    path=READINESS_PATH, port=str(size.port)
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
