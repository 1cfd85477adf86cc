"""Network policies: the traffic that pods of a namespace may send and receive."""

from collections.abc import Mapping, Sequence
from typing import Final

from infra.cdk import Construct, kubernetes
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.workload import Workload

networking = kubernetes.network_policy_v1

# https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy#network-policy-and-workload-identity
_METADATA_SERVER: Final = "169.254.169.254/32"
_NODE_LOCAL_DNS: Final = "169.254.20.10/32"
# With Dataplane V2 the cache of a node gets requests as a pod, without it as an address.
_DNS_PODS: Final = ["kube-dns", "node-local-dns"]
# Namespaces of the collectors of managed Prometheus, by version of GKE.
_COLLECTORS: Final = ["gmp-system", "gke-gmp-system"]


class DefaultDeny(Construct):
    """Pods may use DNS and the metadata server. They receive no traffic."""

    def __init__(self, scope: Construct, id_: str, *, namespace: Namespace):
        super().__init__(scope, id_)
        dns = [_egress_port(53, "UDP"), _egress_port(53, "TCP")]
        _policy(
            self,
            "default-deny",
            namespace,
            networking.NetworkPolicyV1Spec(
                pod_selector=networking.NetworkPolicyV1SpecPodSelector(),
                policy_types=["Ingress", "Egress"],
                egress=[
                    networking.NetworkPolicyV1SpecEgress(
                        to=[
                            networking.NetworkPolicyV1SpecEgressTo(
                                namespace_selector=networking.NetworkPolicyV1SpecEgressToNamespaceSelector(
                                    match_labels={"kubernetes.io/metadata.name": "kube-system"}
                                ),
                                pod_selector=networking.NetworkPolicyV1SpecEgressToPodSelector(
                                    match_expressions=[
                                        networking.NetworkPolicyV1SpecEgressToPodSelectorMatchExpressions(
                                            key="k8s-app", operator="In", values=_DNS_PODS
                                        )
                                    ]
                                ),
                            ),
                            _egress_to(_NODE_LOCAL_DNS),
                        ],
                        ports=dns,
                    ),
                    networking.NetworkPolicyV1SpecEgress(
                        to=[_egress_to(_METADATA_SERVER)], ports=[_egress_port(80, "TCP")]
                    ),
                ],
            ),
        )


class AllowGoogleApis(Construct):
    """Lets pods that were granted something reach Google's APIs, and so nothing else outside the cluster.

    Args:
        selector: labels of the pods; all pods of the namespace if empty.
    """

    def __init__(
        self, scope: Construct, id_: str, *, namespace: Namespace, selector: Mapping[str, str] | None = None
    ):
        super().__init__(scope, id_)
        _policy(
            self,
            id_,
            namespace,
            networking.NetworkPolicyV1Spec(
                pod_selector=networking.NetworkPolicyV1SpecPodSelector(match_labels=selector),
                policy_types=["Egress"],
                egress=[
                    networking.NetworkPolicyV1SpecEgress(
                        to=[_egress_to(namespace.google_apis)], ports=[_egress_port(443, "TCP")]
                    )
                ],
            ),
        )


class AllowCallers(Construct):
    """Lets some address ranges, and the collectors of metrics, call the pods of a workload."""

    def __init__(self, scope: Construct, id_: str, *, workload: Workload, ranges: Sequence[str] = ()):
        super().__init__(scope, id_)
        callers = [
            networking.NetworkPolicyV1SpecIngressFrom(
                namespace_selector=networking.NetworkPolicyV1SpecIngressFromNamespaceSelector(
                    match_expressions=[
                        networking.NetworkPolicyV1SpecIngressFromNamespaceSelectorMatchExpressions(
                            key="kubernetes.io/metadata.name", operator="In", values=_COLLECTORS
                        )
                    ]
                )
            )
        ]
        callers += [
            networking.NetworkPolicyV1SpecIngressFrom(
                ip_block=networking.NetworkPolicyV1SpecIngressFromIpBlock(cidr=each)
            )
            for each in ranges
        ]
        _policy(
            self,
            id_,
            workload.namespace,
            networking.NetworkPolicyV1Spec(
                pod_selector=networking.NetworkPolicyV1SpecPodSelector(match_labels=workload.selector),
                policy_types=["Ingress"],
                ingress=[
                    networking.NetworkPolicyV1SpecIngress(
                        from_=callers,
                        ports=[
                            networking.NetworkPolicyV1SpecIngressPorts(
                                port=str(workload.port), protocol="TCP"
                            )
                        ],
                    )
                ],
            ),
        )


def _policy(scope: Construct, name: str, namespace: Namespace, spec: networking.NetworkPolicyV1Spec) -> None:
    networking.NetworkPolicyV1(
        scope,
        "Default",
        metadata=networking.NetworkPolicyV1Metadata(
            name=name, namespace=namespace.name, labels=namespace.labels
        ),
        spec=spec,
        depends_on=[namespace.resource],
    )


def _egress_port(port: int, protocol: str) -> networking.NetworkPolicyV1SpecEgressPorts:
    return networking.NetworkPolicyV1SpecEgressPorts(port=str(port), protocol=protocol)


def _egress_to(cidr: str) -> networking.NetworkPolicyV1SpecEgressTo:
    return networking.NetworkPolicyV1SpecEgressTo(
        ip_block=networking.NetworkPolicyV1SpecEgressToIpBlock(cidr=cidr)
    )
