"""Pods with one container, without privileges."""

from typing import Final

import msgspec

from infra.cdk import Block
from services.contracts.settings import to_environment

USER: Final = "65532"
"""The unprivileged user of containers: `nonroot` by the convention of distroless images."""


def pod(
    name: str, *, image: str, module: str, settings: msgspec.Struct, cpu: str, memory: str, tmp: str
) -> Block:
    """Spec of pods that run a module, passed its settings as environment variables.

    `name` is that of the container and of the service account, `tmp` the size of what they may write to.
    """
    # Otherwise each client asks for metadata of the bucket, which its role does not include.
    variables = to_environment(settings) | {"DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "1"}
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
                "env": [{"name": variable, "value": value} for variable, value in variables.items()],
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
