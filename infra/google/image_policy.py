"""Binary Authorization: the images that clusters of the project admit."""

from infra.cdk import Construct, google

binary_authorization = google.binary_authorization_policy


class ImagePolicy(Construct):
    """Admits images of one repository, and Google's own system images.

    A project has one policy. Destroying this restores the default one, which admits everything.
    """

    def __init__(self, scope: Construct, id_: str, *, repository: str):
        super().__init__(scope, id_)
        binary_authorization.BinaryAuthorizationPolicy(
            self,
            "Default",
            description="Images of the platform's own repository",
            global_policy_evaluation_mode="ENABLE",  # admits GKE's system images in any case
            admission_whitelist_patterns=[
                binary_authorization.BinaryAuthorizationPolicyAdmissionWhitelistPatterns(
                    name_pattern=f"{repository}/*"
                )
            ],
            default_admission_rule=binary_authorization.BinaryAuthorizationPolicyDefaultAdmissionRule(
                evaluation_mode="ALWAYS_DENY", enforcement_mode="ENFORCED_BLOCK_AND_AUDIT_LOG"
            ),
        )
