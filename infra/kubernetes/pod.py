"""The pods of a service: one container, without privileges, with its probes and settings."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from infra.cdk import kubernetes
from infra.environment.services import WorkloadSettings
from infra.google.node_pool import CLASS_KEY, SPOT_CLASS
from services.contracts.names import LIVENESS_PATH, READINESS_PATH
from services.contracts.settings import to_environment

apps = kubernetes.deployment_v1

PORT_NAME: Final = "http"

USER: Final = "65532"
"""The unprivileged user of containers: `nonroot` by the convention of distroless images."""

# What the `restricted` Pod Security Standard asks of pods and of containers.
POD_SECURITY: Final[Mapping[str, Any]] = {
    "run_as_non_root": True,
    "run_as_user": USER,
    "run_as_group": USER,
    "fs_group": USER,
    "seccomp_profile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Final[Mapping[str, Any]] = {
    "allow_privilege_escalation": False,
    "read_only_root_filesystem": True,
    "run_as_non_root": True,
    "capabilities": {"drop": ["ALL"]},
}

# Otherwise each client asks for metadata of the bucket, which its role does not include.
NO_BUCKET_LOOKUP: Final = {"DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "1"}

_STOPPING_SECONDS: Final = 25
"""Time for a service to finish its requests after its drain."""

_STARTING_SECONDS: Final = 120
"""Time for a container to answer, on a node that pulls its image and starts other containers."""


def pod(
    name: str,
    *,
    image: str,
    settings: msgspec.Struct,
    size: WorkloadSettings,
    selector: Mapping[str, str],
    drain_seconds: int,
    spot: bool,
) -> apps.DeploymentV1SpecTemplateSpec:
    """Spec of the pods of a service."""
    return apps.DeploymentV1SpecTemplateSpec(
        service_account_name=name,
        # Workload Identity asks the metadata server; nothing in the pod calls the Kubernetes API.
        automount_service_account_token=False,
        enable_service_links=False,  # variables of Services could shadow settings
        # On SIGTERM the service answers 503 to readiness probes, drains and then stops by itself.
        termination_grace_period_seconds=drain_seconds + _STOPPING_SECONDS,
        security_context=apps.DeploymentV1SpecTemplateSpecSecurityContext(**POD_SECURITY),
        topology_spread_constraint=[
            apps.DeploymentV1SpecTemplateSpecTopologySpreadConstraint(
                max_skew=1,
                topology_key=topology,
                when_unsatisfiable="ScheduleAnyway",  # pods in one zone are better than none
                label_selector=[
                    apps.DeploymentV1SpecTemplateSpecTopologySpreadConstraintLabelSelector(
                        match_labels=selector
                    )
                ],
                # Count the pods of one rollout only: those that it replaces are about to stop.
                match_label_keys=["pod-template-hash"],
            )
            for topology in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        node_selector={CLASS_KEY: SPOT_CLASS} if spot else None,
        toleration=[
            apps.DeploymentV1SpecTemplateSpecToleration(
                key=CLASS_KEY, operator="Equal", value=SPOT_CLASS, effect="NoSchedule"
            )
        ]
        if spot
        else None,
        container=[_container(name, image, settings, size)],
        volume=[
            apps.DeploymentV1SpecTemplateSpecVolume(
                name="tmp", empty_dir=apps.DeploymentV1SpecTemplateSpecVolumeEmptyDir(size_limit="64Mi")
            )
        ],
    )


def _container(
    name: str, image: str, settings: msgspec.Struct, size: WorkloadSettings
) -> apps.DeploymentV1SpecTemplateSpecContainer:
    return apps.DeploymentV1SpecTemplateSpecContainer(
        name=name,
        image=image,
        command=["python", "-m", f"services.{name}"],
        env=[
            apps.DeploymentV1SpecTemplateSpecContainerEnv(name=variable, value=value)
            for variable, value in (to_environment(settings) | NO_BUCKET_LOOKUP).items()
        ],
        port=[apps.DeploymentV1SpecTemplateSpecContainerPort(name=PORT_NAME, container_port=size.port)],
        # Liveness probes begin when the startup probe succeeds: a slow start is no reason to restart.
        startup_probe=apps.DeploymentV1SpecTemplateSpecContainerStartupProbe(
            http_get=apps.DeploymentV1SpecTemplateSpecContainerStartupProbeHttpGet(
                path=LIVENESS_PATH, port=PORT_NAME
            ),
            period_seconds=2,
            timeout_seconds=2,
            failure_threshold=_STARTING_SECONDS // 2,
        ),
        liveness_probe=apps.DeploymentV1SpecTemplateSpecContainerLivenessProbe(
            http_get=apps.DeploymentV1SpecTemplateSpecContainerLivenessProbeHttpGet(
                path=LIVENESS_PATH, port=PORT_NAME
            ),
            period_seconds=10,
            timeout_seconds=2,
        ),
        readiness_probe=apps.DeploymentV1SpecTemplateSpecContainerReadinessProbe(
            http_get=apps.DeploymentV1SpecTemplateSpecContainerReadinessProbeHttpGet(
                path=READINESS_PATH, port=PORT_NAME
            ),
            period_seconds=2,
            timeout_seconds=2,
        ),
        resources=apps.DeploymentV1SpecTemplateSpecContainerResources(
            requests={"cpu": size.cpu, "memory": size.memory},
            limits={"memory": size.memory},  # none on CPU: idle CPU is free, throttling is latency
        ),
        security_context=apps.DeploymentV1SpecTemplateSpecContainerSecurityContext(**CONTAINER_SECURITY),
        volume_mount=[
            apps.DeploymentV1SpecTemplateSpecContainerVolumeMount(
                name="tmp",
                mount_path="/tmp",  # noqa: S108
            )
        ],
    )
