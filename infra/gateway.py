"""The front door of the cluster: a regional external load balancer, described by the Gateway API."""

from typing import Any, Final

from infra.namespace import Namespace
from infra.providers import Construct, Manifest
from infra.workload import Workload
from services.contracts.names import READINESS_PATH

HEALTH_CHECK_RANGES: Final = ("35.191.0.0/16", "130.211.0.0/22")
"""From where Google's load balancers probe: https://cloud.google.com/load-balancing/docs/health-check-concepts"""


class Gateway(Construct):
    """A load balancer that routes HTTP to Services of its namespace.

    Args:
        scope: where it belongs.
        id_: its id there and its name.
        namespace: of it and the Services.
    """

    def __init__(self, scope: Construct, id_: str, *, namespace: Namespace):
        super().__init__(scope, id_)
        self._name = id_
        self._namespace = namespace
        self._resource = self._manifest(
            self,
            "Default",
            "gateway.networking.k8s.io/v1",
            "Gateway",
            id_,
            {
                "gatewayClassName": "gke-l7-regional-external-managed",
                "listeners": [
                    {
                        "name": "http",
                        "protocol": "HTTP",
                        "port": 80,
                        "allowedRoutes": {"namespaces": {"from": "Same"}},
                    }
                ],
            },
            namespace.resource,
        )

    def route(self, workload: Workload) -> None:
        """Route every path to a workload, to those of its pods that are ready."""
        scope = Construct(self, workload.name)
        service = workload.expose()
        health_check = self._manifest(
            scope,
            "health-check",
            "networking.gke.io/v1",
            "HealthCheckPolicy",
            workload.name,
            {
                "targetRef": {"group": "", "kind": "Service", "name": workload.name},
                # Without a policy the load balancer asks for `/`, which says nothing about readiness.
                "default": {
                    "checkIntervalSec": 5,
                    "timeoutSec": 2,
                    "healthyThreshold": 1,
                    "unhealthyThreshold": 2,
                    "config": {
                        "type": "HTTP",
                        "httpHealthCheck": {
                            "portSpecification": "USE_FIXED_PORT",
                            "port": workload.port,
                            "requestPath": READINESS_PATH,
                        },
                    },
                },
            },
            service,
        )
        self._manifest(
            scope,
            "route",
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            workload.name,
            {
                "parentRefs": [{"name": self._name}],
                "rules": [{"backendRefs": [{"name": workload.name, "port": 80}]}],
            },
            self._resource,
            health_check,
        )

    def _manifest(
        self, scope: Construct, id_: str, api: str, kind: str, name: str, spec: dict[str, Any], *after: Any
    ) -> Manifest:
        metadata = {"name": name, "namespace": self._namespace.name, "labels": self._namespace.labels}
        return Manifest(
            scope,
            id_,
            manifest={"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec},
            depends_on=list(after),
        )
