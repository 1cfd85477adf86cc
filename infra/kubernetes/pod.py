"""Pods with one container, without privileges."""

from collections.abc import Mapping
from typing import Final

import msgspec

from infra.cdk import Block
from infra.environment.services import WorkloadSettings
from infra.google.node_pool import CLASS_KEY, SPOT_CLASS
from services.contracts.names import LIVENESS_PATH, READINESS_PATH
from services.contracts.settings import ServerSettings, to_environment

PORT_NAME: Final = "http"

USER: Final = "65532"
"""The unprivileged user of containers: `nonroot` by the convention of distroless images."""

# Otherwise each client asks for metadata of the bucket, which its role does not include.
_NO_BUCKET_LOOKUP: Final = {"DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "1"}

_STOPPING_SECONDS: Final = 25
"""Time for a service to finish its requests after its drain."""

_STARTING_SECONDS: Final = 120
"""Time for a container to answer, on a node that pulls its image and starts other containers."""


def pod(
    name: str, *, image: str, module: str, settings: msgspec.Struct, cpu: str, memory: str, tmp: str
) -> Block:
    """Spec of pods that run a module, passed its settings as environment variables.

    `name` is that of the container and of the service account, `tmp` the size of what they may write to.
    """
    return {
        "service_account_name": name,
        # Workload Identity asks the metadata server; nothing in the pod calls the Kubernetes API.
        "automount_service_account_token": False,
        "enable_service_links": False,  # variables of Services could shadow settings
        # This and that of the container: what the `restricted` Pod Security Standard asks.
        "security_context": {
            "run_as_non_root": True,
            "run_as_user": USER,
            "run_as_group": USER,
            "fs_group": USER,
            "seccomp_profile": {"type": "RuntimeDefault"},
        },
        "container": [
            {
                "name": name,
                "image": image,
                "command": ["python", "-m", module],
                "env": [
                    {"name": variable, "value": value}
                    for variable, value in (to_environment(settings) | _NO_BUCKET_LOOKUP).items()
                ],
                "resources": {
                    "requests": {"cpu": cpu, "memory": memory},
                    "limits": {"memory": memory},  # none on CPU: idle CPU is free, throttling is latency
                },
                "security_context": {
                    "allow_privilege_escalation": False,
                    "read_only_root_filesystem": True,
                    "run_as_non_root": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volume_mount": [{"name": "tmp", "mount_path": "/tmp"}],  # noqa: S108
            }
        ],
        "volume": [{"name": "tmp", "empty_dir": {"size_limit": tmp}}],
    }


def service_pod(
    name: str,
    *,
    image: str,
    settings: ServerSettings,
    size: WorkloadSettings,
    selector: Mapping[str, str],
    spot: bool,
) -> Block:
    """Spec of the pods of a service, with its probes."""
    spec = pod(
        name,
        image=image,
        module=f"services.{name}",
        settings=settings,
        cpu=size.cpu,
        memory=size.memory,
        tmp="64Mi",
    )
    alive, ready = ({"path": path, "port": PORT_NAME} for path in (LIVENESS_PATH, READINESS_PATH))
    often = {"period_seconds": 2, "timeout_seconds": 2}
    spec["container"][0] |= {
        "port": [{"name": PORT_NAME, "container_port": size.port}],
        # Liveness probes begin when the startup probe succeeds: a slow start is no reason to restart.
        "startup_probe": {"http_get": alive, "failure_threshold": _STARTING_SECONDS // 2, **often},
        "liveness_probe": {"http_get": alive, "period_seconds": 10, "timeout_seconds": 2},
        "readiness_probe": {"http_get": ready, **often},
    }
    spec |= {
        # On SIGTERM the service answers 503 to readiness probes, drains and then stops by itself.
        "termination_grace_period_seconds": int(settings.drain_seconds) + _STOPPING_SECONDS,
        "topology_spread_constraint": [
            {
                "max_skew": 1,
                "topology_key": topology,
                "when_unsatisfiable": "ScheduleAnyway",  # pods in one zone are better than none
                "label_selector": [{"match_labels": selector}],
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
