"""The Kubernetes objects of a stack as its API server would be sent them, and what checks them offline."""

import json
import re
import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest

from tests.stacks.synthesized import ROOT, Stack

VERSION = "1.33"
"""Of Kubernetes: what the release channel brings at least."""

KINDS = {
    "kubernetes_deployment_v1": ("apps/v1", "Deployment"),
    "kubernetes_horizontal_pod_autoscaler_v2": ("autoscaling/v2", "HorizontalPodAutoscaler"),
    "kubernetes_job_v1": ("batch/v1", "Job"),
    "kubernetes_namespace_v1": ("v1", "Namespace"),
    "kubernetes_network_policy_v1": ("networking.k8s.io/v1", "NetworkPolicy"),
    "kubernetes_service_account_v1": ("v1", "ServiceAccount"),
    "kubernetes_service_v1": ("v1", "Service"),
}
"""API version and kind of the objects that have a Terraform resource of their own."""

# The names of lists are singular in Terraform, and in Kubernetes plural, where they are not one thing.
_PLURAL = {
    "container",
    "metric",
    "port",
    "toleration",
    "topology_spread_constraint",
    "volume",
    "volume_mount",
}
_SINGLE = {"label_selector", "scale_down", "scale_up"}
_MAPS = {"labels", "match_labels", "requests", "limits"}
_NUMBERS = {"run_as_user", "run_as_group", "fs_group", "port", "target_port", "max_unavailable", "max_surge"}


def manifests(stack: Stack) -> list[dict[str, Any]]:
    """Every Kubernetes object of a stack."""
    found: list[dict[str, Any]] = []
    for kind, _, resource in stack.resources:
        if kind == "kubernetes_manifest":
            found.append(resource["manifest"])
        elif kind.startswith("kubernetes_"):
            api, name = KINDS[kind]
            body = {
                key: value
                for key, value in resource.items()
                if key not in ("depends_on", "timeouts", "wait_for_rollout")
            }
            found.append({"apiVersion": api, "kind": name, **_object(body)})
    return found


def _object(block: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in block.items():
        name = _camel(_plural(key, value))
        if key in _MAPS:
            made[name] = value
        elif key in _SINGLE or (key == "selector" and isinstance(value, list)):
            (only,) = value
            made[name] = _value(only, key)
        else:
            made[name] = _value(value, key)
    return made


def _plural(key: str, value: Any) -> str:
    if key == "policy":
        return "policies"
    return f"{key}s" if key in _PLURAL and isinstance(value, list) else key


def _value(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return _object(value)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, list):
        return [_value(each, key) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if key in _NUMBERS and isinstance(value, str) and value.isdecimal():
        return int(value)  # as the provider does with an int-or-string
    return value


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def check_core(manifest: dict[str, Any]) -> None:
    """Check an object of Kubernetes itself: no unknown field, none missing, all of their types."""
    kubernetes_validate.validate(manifest, VERSION, strict=True)


def check_custom(objects: list[dict[str, Any]]) -> list[str]:
    """What is wrong with objects of the Gateway API and of GKE, by the schemas of their definitions.

    The validators compiled from the schemas check values; the types made from them, unknown fields.
    """
    node = shutil.which("node")
    if not node or not (ROOT / "node_modules" / "@kubernetes-models").exists():
        pytest.skip("the npm packages @kubernetes-models/... are not installed: run `make install`")
    program = [node, str(ROOT / "tests" / "stacks" / "custom_objects.mjs")]
    done = subprocess.run(
        program, input=json.dumps(objects), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
