"""Binary Authorization: who says of an image that it was built and tried, and which images clusters admit."""

from collections.abc import Sequence

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.google.identity import Principal


class Attestor(Construct):
    """Signatures of images: a note, a key and an attestor.

    Whoever may push to the repository cannot run what was pushed: that takes the right to sign, too.
    `scripts/push_image.sh` signs what it built and tried, and gives the attestor the key's public half, which
    no resource of Terraform's shows.

    Google Cloud never deletes key rings and keys: to use their names again, `terraform import` both.

    Args:
        key: full name of the key that signs, in a ring of its own.
    """

    def __init__(self, scope: Construct, id_: str, *, key: str, after: Sequence[TerraformResource]):
        super().__init__(scope, id_)
        place = place_of(self)
        lifecycle = {"prevent_destroy": place.protected}
        self._key_path = key
        self._ring_path, _, key_name = key.partition("/cryptoKeys/")
        self._ring = google.kms_key_ring.KmsKeyRing(
            self,
            "ring",
            name=self._ring_path.rpartition("/")[2],
            location=place.region,
            lifecycle=lifecycle,
            depends_on=[*after],
        )
        self._key = google.kms_crypto_key.KmsCryptoKey(
            self,
            "key",
            name=key_name,
            key_ring=self._ring.id,
            purpose="ASYMMETRIC_SIGN",
            version_template={"algorithm": "EC_SIGN_P256_SHA256"},
            lifecycle=lifecycle,
        )
        self._note = google.container_analysis_note.ContainerAnalysisNote(
            self,
            "note",
            name=place.platform,
            attestation_authority={"hint": {"human_readable_name": "built from this repository and tried"}},
            depends_on=[*after],
        )
        google.binary_authorization_attestor.BinaryAuthorizationAttestor(
            self,
            "Default",
            name=place.platform,
            attestation_authority_note={"note_reference": self._note.name},
            lifecycle={"ignore_changes": ["attestation_authority_note[0].public_keys"]},
        )

    def grant_sign(self, principal: Principal) -> None:
        """Let a principal sign images. To store signatures takes a role on the project, too."""
        principal.grant(
            google.kms_crypto_key_iam_member.KmsCryptoKeyIamMember,
            "sign-images",
            "roles/cloudkms.signerVerifier",
            self._key,
            crypto_key_id=self._key_path,
        )
        principal.grant(
            google.container_analysis_note_iam_member.ContainerAnalysisNoteIamMember,
            "attest-images",
            "roles/containeranalysis.notes.attacher",
            self._note,
            note=place_of(self).platform,
        )

    def grant_read_settings(self, principal: Principal) -> None:
        """Let a principal see ring, key and their policies, but not sign."""
        principal.grant(
            google.kms_key_ring_iam_member.KmsKeyRingIamMember,
            "see-signing-key",
            "roles/cloudkms.viewer",
            self._ring,
            key_ring_id=self._ring_path,
        )


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
