"""Autoscaling of a service: number of pods, and recommended CPU and memory."""

from infra.cdk import Block
from infra.environment.services import Autoscaling, WorkloadSettings


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
                    # The load must be low for this long. A shorter time makes the number oscillate.
                    "stabilization_window_seconds": 300,
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
                    "target": {"type": "Utilization", "average_utilization": 80},  # of what a pod requests
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
                    # The rest is reserve until the pods that are added are ready.
                    "target": {"type": "AverageValue", "average_value": "70"},
                },
            }
