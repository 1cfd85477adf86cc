"""Binary Authorization: the images that clusters of the project admit."""

from infra.cdk import Construct, google


class ImagePolicy(Construct):
    """Admits images that an attestor signed, and Google's own system images.

    A project has one policy. Destroying this restores the default one, which admits everything.

    Args:
        attestor: its full name.
    """

    def __init__(self, scope: Construct, id_: str, *, attestor: str):
        super().__init__(scope, id_)
        google.binary_authorization_policy.BinaryAuthorizationPolicy(
            self,
            "Default",
            description="Images that were built from the platform's repository and tried",
            global_policy_evaluation_mode="ENABLE",  # admits GKE's system images in any case
            default_admission_rule={
                # By the name of the repository, whoever may push there could run anything.
                "evaluation_mode": "REQUIRE_ATTESTATION",
                "require_attestations_by": [attestor],
                "enforcement_mode": "ENFORCED_BLOCK_AND_AUDIT_LOG",
            },
        )
