"""Autoscaling of a service: number of pods, and recommended CPU and memory."""

from typing import Final

from infra.cdk import Block
from infra.environment.services import Autoscaling, WorkloadSettings

_CAPACITY_PERCENT: Final = 70
"""Share of `requests_per_second` at which pods are added. The rest is reserve until they are ready."""

_CPU_PERCENT: Final = 80
"""Share of the CPU that a pod requests above which pods are added."""

_COOLDOWN_SECONDS: Final = 300
"""Time for which the load must be low before pods are removed. A shorter time makes the number oscillate."""


def horizontal(name: str, size: WorkloadSettings) -> Block:
    """Spec that adds pods quickly (up to twice as many every 30 s) and removes them slowly (half a minute).

    `name` is that of the Deployment and its Service.
    """
    return {
        "min_replicas": size.min_replicas,
        "max_replicas": size.max_replicas,
        "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": name},
        "metric": [_metric(size.autoscaling, name)],
        "behavior": {
            "scale_up": [
                {
                    "select_policy": "Max",
                    "policy": [
                        {"type": "Percent", "value": 100, "period_seconds": 30},
                        # 100 % of two pods are two; a jump in load may need more at once.
                        {"type": "Pods", "value": 4, "period_seconds": 30},
                    ],
                }
            ],
            "scale_down": [
                {
                    "stabilization_window_seconds": _COOLDOWN_SECONDS,
                    "select_policy": "Max",
                    "policy": [{"type": "Percent", "value": 50, "period_seconds": 60}],
                }
            ],
        },
    }


def vertical(name: str) -> Block:
    """Spec of an autoscaler that recommends CPU and memory requests and changes no pod."""
    return {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "updatePolicy": {"updateMode": "Off"},
        "resourcePolicy": {
            "containerPolicies": [
                {
                    "containerName": name,
                    "controlledResources": ["cpu", "memory"],
                    # Memory limit and request must stay equal.
                    "controlledValues": "RequestsAndLimits",
                }
            ]
        },
    }


def _metric(autoscaling: Autoscaling, name: str) -> Block:
    match autoscaling.by:
        case "cpu":
            return {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "average_utilization": _CPU_PERCENT},
                },
            }
        case "traffic":
            # Requests of the Service in percent of its GCPBackendPolicy's maxRatePerEndpoint:
            # https://cloud.google.com/kubernetes-engine/docs/how-to/traffic-autoscaling
            return {
                "type": "Object",
                "object": {
                    "described_object": {"api_version": "v1", "kind": "Service", "name": name},
                    "metric": {"name": "autoscaling.googleapis.com|gclb-capacity-utilization"},
                    "target": {"type": "AverageValue", "average_value": str(_CAPACITY_PERCENT)},
                },
            }
