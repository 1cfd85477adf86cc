"""A certificate of Certificate Manager for a host name of a regional load balancer."""

import hashlib
from typing import Final

from infra.cdk import Construct, TerraformOutput, TerraformStack, google
from infra.cdk.stack import place_of


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
            # Other projects may authorize the same host name.
            type="PER_PROJECT_RECORD",
            lifecycle=lifecycle,
        )
        proof = authorization.dns_resource_record.get(0)
        TerraformOutput(
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
