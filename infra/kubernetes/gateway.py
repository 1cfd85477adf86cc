"""The entry point from the internet: a regional external load balancer, configured by the Gateway API."""

from collections.abc import Mapping, Sequence
from typing import Final

from infra.cdk import Block, Construct, TerraformStack, cdktf, google
from infra.cdk.stack import place_of
from infra.google.load_balancer import Certificate, SecurityPolicy
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.workload import SERVICE_PORT, Workload
from services.contracts.names import METRICS_PATH, MODELS_PATH, READINESS_PATH

HEALTH_CHECK_RANGES: Final = ("35.191.0.0/16", "130.211.0.0/22")
"""Source ranges of health checks: https://cloud.google.com/load-balancing/docs/health-check-concepts"""

_GATEWAY_API: Final = "gateway.networking.k8s.io/v1"
_GKE_API: Final = "networking.gke.io/v1"


class Gateway(Construct):
    """A load balancer with its own host name, address and certificate. Plain HTTP is redirected.

    Its class is the regional one: its proxies stand in the region of the data, in the network's proxy-only
    subnet, so that network policies can name them. Regional load balancers take no certificate maps, but
    certificates of Certificate Manager by name.

    Args:
        iap_members: whom Identity-Aware Proxy lets in; everybody calls if there are none.
    """

    def __init__(
        self, scope: Construct, id_: str, *, namespace: Namespace, hostname: str, iap_members: Sequence[str]
    ):
        super().__init__(scope, id_)
        self._name = id_
        self._namespace = namespace
        self._hostname = hostname
        self._guarded = bool(iap_members)
        self._google_name = f"{namespace.name}-{id_}"
        region = place_of(self).region
        # A reserved address survives changes of the Gateway; regional Gateways need the STANDARD tier.
        address = google.compute_address.ComputeAddress(
            self, "address", name=self._google_name, region=region, network_tier="STANDARD"
        )
        cdktf.TerraformOutput(
            TerraformStack.of(self),
            "address_record",
            value=f"{hostname}. A {address.address}",
            description="Record by which clients find the Gateway, for the owner of the domain to make.",
        )
        certificate = Certificate(self, "certificate", prefix=self._google_name, hostname=hostname)
        tls = google.compute_region_ssl_policy.ComputeRegionSslPolicy(
            self,
            "tls",
            name=self._google_name,
            region=region,
            min_tls_version="TLS_1_2",  # the default allows TLS 1.0
            profile="MODERN",
        )
        protection = SecurityPolicy(
            self, "protection", name=self._google_name, closed=(METRICS_PATH, MODELS_PATH, READINESS_PATH)
        )
        routes = {"hostname": hostname, "allowedRoutes": {"namespaces": {"from": "Same"}}}
        self._resource = namespace.custom_object(
            self,
            "Default",
            api=_GATEWAY_API,
            kind="Gateway",
            name=id_,
            spec={
                "gatewayClassName": "gke-l7-regional-external-managed",
                "addresses": [{"type": "NamedAddress", "value": self._google_name}],
                "listeners": [
                    {
                        "name": "https",
                        "protocol": "HTTPS",
                        "port": 443,
                        "tls": {
                            "mode": "Terminate",
                            "options": {"networking.gke.io/cert-manager-certs": certificate.name},
                        },
                        **routes,
                    },
                    {"name": "http", "protocol": "HTTP", "port": 80, **routes},
                ],
            },
            # Google deletes no policy that a load balancer uses, so this goes before them.
            after=[address, certificate.resource, tls, protection.resource],
        )
        namespace.custom_object(
            self,
            "tls-policy",
            api=_GKE_API,
            kind="GCPGatewayPolicy",
            name=id_,
            spec={
                "targetRef": {"group": _GATEWAY_API.partition("/")[0], "kind": "Gateway", "name": id_},
                "default": {"sslPolicy": self._google_name},
            },
            after=[tls],
        )
        # GKE generates the names of backends, so a grant on one backend cannot be written here. The grant is
        # on everything behind Identity-Aware Proxy in the project; its condition limits it to this host name.
        # https://cloud.google.com/iam/docs/conditions-attribute-reference#host-path
        here = {"title": f"{self._google_name} alone", "expression": f"request.host == '{self._hostname}'"}
        for member in iap_members:
            google.iap_web_iam_member.IapWebIamMember(
                self, member, role="roles/iap.httpsResourceAccessor", member=member, condition=here
            )
        to_https = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}
        self._route("redirect", listener="http", rules=[{"filters": [to_https]}])

    def route(self, *, public: Mapping[str, Workload], internal: Mapping[str, Workload]) -> None:
        """Route requests to the pods that are ready.

        Args:
            public: workloads that clients call, by the path that theirs begin with. The limits and members of
                the Gateway apply to them.
            internal: workloads that Google's services call, by their only path. These have few addresses, so
                there is no limit for each, and they authenticate themselves.
        """
        rules: list[Block] = []
        for kind, workloads, is_public in (("Exact", internal, False), ("PathPrefix", public, True)):
            for path, workload in workloads.items():
                self._backend(workload, public=is_public)
                rules.append(
                    {
                        "matches": [{"path": {"type": kind, "value": path}}],
                        "backendRefs": [{"name": workload.name, "port": SERVICE_PORT}],
                    }
                )
        self._route("services", listener="https", rules=rules)

    def _route(self, name: str, *, listener: str, rules: Sequence[Block]) -> None:
        self._namespace.custom_object(
            self,
            f"{name}-route",
            api=_GATEWAY_API,
            kind="HTTPRoute",
            name=name,
            spec={
                "parentRefs": [{"name": self._name, "sectionName": listener}],
                "hostnames": [self._hostname],
                "rules": rules,
            },
            after=[self._resource],
        )

    def _backend(self, workload: Workload, *, public: bool) -> None:
        """Policies of the load balancer for a workload: health check, limits, protection."""
        scope = Construct(self, workload.name)
        target = {"group": "", "kind": "Service", "name": workload.name}
        self._namespace.custom_object(
            scope,
            "health-check",
            api=_GKE_API,
            kind="HealthCheckPolicy",
            name=workload.name,
            spec={
                "targetRef": target,
                # Without a policy the load balancer checks `/`, which does not show readiness.
                "default": {
                    "checkIntervalSec": 5,
                    "timeoutSec": 2,
                    "healthyThreshold": 1,
                    # No more requests after ten seconds, which is less than a drain.
                    "unhealthyThreshold": 2,
                    "config": {
                        "type": "HTTP",
                        # The API server refuses a check without a port.
                        "httpHealthCheck": {
                            "portSpecification": "USE_FIXED_PORT",
                            "port": workload.size.port,
                            "requestPath": READINESS_PATH,
                        },
                    },
                },
            },
            after=[workload.service],
        )
        default: Block = {
            "timeoutSec": 30,
            "connectionDraining": {"drainingTimeoutSec": workload.size.drain_seconds},
            "maxRatePerEndpoint": workload.size.autoscaling.requests_per_second,
            "logging": {"enabled": True, "sampleRate": 100_000},  # of a million
        }
        if public:
            default["securityPolicy"] = self._google_name
            if self._guarded:
                default["iap"] = {"enabled": True}
        self._namespace.custom_object(
            scope,
            "backend",
            api=_GKE_API,
            kind="GCPBackendPolicy",
            name=workload.name,
            spec={"targetRef": target, "default": default},
            after=[workload.service, self._resource],
        )
