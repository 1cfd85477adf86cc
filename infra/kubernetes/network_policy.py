"""Network policies: the traffic that pods of a namespace may send and receive."""

from collections.abc import Mapping, Sequence
from typing import Final

from infra.cdk import Block, Construct, kubernetes
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.workload import Workload

# https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy#network-policy-and-workload-identity
_METADATA_SERVER: Final = "169.254.169.254/32"
_NODE_LOCAL_DNS: Final = "169.254.20.10/32"
# With Dataplane V2 the cache of a node gets requests as a pod, without it as an address.
_DNS_PODS: Final = {"key": "k8s-app", "operator": "In", "values": ["kube-dns", "node-local-dns"]}
# Namespaces of the collectors of managed Prometheus, by version of GKE.
_COLLECTORS: Final = {
    "key": "kubernetes.io/metadata.name",
    "operator": "In",
    "values": ["gmp-system", "gke-gmp-system"],
}


class DefaultDeny(Construct):
    """Pods may use DNS and the metadata server. They receive no traffic."""

    def __init__(self, scope: Construct, id_: str, *, namespace: Namespace):
        super().__init__(scope, id_)
        dns = [
            {
                "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": "kube-system"}},
                "pod_selector": {"match_expressions": [_DNS_PODS]},
            },
            {"ip_block": {"cidr": _NODE_LOCAL_DNS}},
        ]
        spec = {
            "pod_selector": {},
            "policy_types": ["Ingress", "Egress"],
            "egress": [
                {"to": dns, "ports": [{"port": "53", "protocol": "UDP"}, {"port": "53", "protocol": "TCP"}]},
                {
                    "to": [{"ip_block": {"cidr": _METADATA_SERVER}}],
                    "ports": [{"port": "80", "protocol": "TCP"}],
                },
            ],
        }
        _policy(self, namespace, spec)


class AllowGoogleApis(Construct):
    """Lets pods that were granted something reach Google's APIs, and so nothing else outside the cluster.

    Args:
        selector: labels of the pods; all pods of the namespace if absent.
    """

    def __init__(
        self, scope: Construct, id_: str, *, namespace: Namespace, selector: Mapping[str, str] | None = None
    ):
        super().__init__(scope, id_)
        google_apis = {
            "to": [{"ip_block": {"cidr": namespace.google_apis}}],
            "ports": [{"port": "443", "protocol": "TCP"}],
        }
        spec = {
            "pod_selector": {"match_labels": selector},
            "policy_types": ["Egress"],
            "egress": [google_apis],
        }
        _policy(self, namespace, spec)


class AllowCallers(Construct):
    """Lets some address ranges, and the collectors of metrics, call the pods of a workload."""

    def __init__(self, scope: Construct, id_: str, *, workload: Workload, ranges: Sequence[str] = ()):
        super().__init__(scope, id_)
        callers = [
            {"namespace_selector": {"match_expressions": [_COLLECTORS]}},
            *({"ip_block": {"cidr": each}} for each in ranges),
        ]
        spec = {
            "pod_selector": {"match_labels": workload.selector},
            "policy_types": ["Ingress"],
            "ingress": [{"from_": callers, "ports": [{"port": str(workload.size.port), "protocol": "TCP"}]}],
        }
        _policy(self, workload.namespace, spec)


def _policy(scope: Construct, namespace: Namespace, spec: Block) -> None:
    kubernetes.network_policy_v1.NetworkPolicyV1(
        scope,
        "Default",
        metadata={"name": scope.node.id, "namespace": namespace.name, "labels": namespace.labels},
        spec=spec,
        depends_on=[namespace.resource],
    )
