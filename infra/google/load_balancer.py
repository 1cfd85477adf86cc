"""What a regional load balancer takes from Google: its certificate, and Cloud Armor in front of the pods."""

import hashlib
from collections.abc import Sequence
from typing import Final

from infra.cdk import Construct, TerraformStack, cdktf, google
from infra.cdk.stack import place_of

_REQUESTS_PER_MINUTE: Final = 6000
"""Requests of one client address; more are refused."""


class Certificate(Construct):
    """A certificate that Google issues and renews while a DNS record shows whose the host name is.

    https://cloud.google.com/kubernetes-engine/docs/how-to/secure-gateway

    Args:
        prefix: its name is this and a hash of the host name: another host name gets a certificate of its own
            before the one in use goes.
    """

    def __init__(self, scope: Construct, id_: str, *, prefix: str, hostname: str):
        super().__init__(scope, id_)
        self.name: Final = f"{prefix}-{hashlib.sha256(hostname.encode()).hexdigest()[:8]}"
        region = place_of(self).region
        lifecycle = {"create_before_destroy": True}
        authorization = google.certificate_manager_dns_authorization.CertificateManagerDnsAuthorization(
            self,
            "authorization",
            name=self.name,
            location=region,
            domain=hostname,
            type="PER_PROJECT_RECORD",  # other projects may authorize the same host name
            lifecycle=lifecycle,
        )
        proof = authorization.dns_resource_record.get(0)
        cdktf.TerraformOutput(
            TerraformStack.of(self),
            "certificate_record",
            value=f"{proof.name} {proof.type} {proof.data}",
            description="Record without which Google issues no certificate, for the owner to make.",
        )
        self.resource: Final = google.certificate_manager_certificate.CertificateManagerCertificate(
            self,
            "Default",
            name=self.name,
            location=region,
            managed={"domains": [hostname], "dns_authorizations": [authorization.id]},
            lifecycle=lifecycle,
        )


class SecurityPolicy(Construct):
    """Cloud Armor: some paths are for the cluster alone, and each client has a rate limit."""

    def __init__(self, scope: Construct, id_: str, *, name: str, closed: Sequence[str]):
        super().__init__(scope, id_)
        anybody = {"versioned_expr": "SRC_IPS_V1", "config": {"src_ip_ranges": ["*"]}}
        self.resource: Final = google.compute_region_security_policy.ComputeRegionSecurityPolicy(
            self,
            "Default",
            name=name,
            region=place_of(self).region,
            type="CLOUD_ARMOR",
            rules=[
                {
                    "priority": 1000,
                    "description": "For the cluster alone",
                    "action": "deny(404)",
                    "match": {
                        "expr": {"expression": " || ".join(f"request.path == '{path}'" for path in closed)}
                    },
                },
                {
                    "priority": 2000,
                    "description": "Each client address its share",
                    "action": "throttle",
                    "match": anybody,
                    "rate_limit_options": {
                        "rate_limit_threshold": {"count": _REQUESTS_PER_MINUTE, "interval_sec": 60},
                        "enforce_on_key": "IP",
                        "conform_action": "allow",
                        "exceed_action": "deny(429)",
                    },
                },
                {
                    "priority": 2_147_483_647,  # of the default rule, which every security policy has
                    "description": "Everything else",
                    "action": "allow",
                    "match": anybody,
                },
            ],
        )
