"""A Cloud KMS key with which Google's services encrypt the platform's data."""

from collections.abc import Sequence
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.google.identity import Principal


class Key(Construct):
    """An existing key, or else a key ring with one key, in the region of the services that use it.

    The owner of an existing key decides who may use it: nothing is granted on it here.

    Google Cloud never deletes either. Destroying this destroys the versions of the key, and so everything
    they encrypted. The names stay taken: to use them again, `terraform import` both.

    Args:
        existing: full name of a key of somebody else.
    """

    def __init__(self, scope: Construct, id_: str, *, existing: str | None, after: TerraformResource):
        super().__init__(scope, id_)
        place = place_of(self)
        self._ring: google.kms_key_ring.KmsKeyRing | None = None
        self._platform = place.platform
        self._ring_path = f"projects/{place.project_id}/locations/{place.region}/keyRings/{place.platform}"
        self.path: Final = existing or f"{self._ring_path}/cryptoKeys/{place.platform}"
        if existing:
            return
        lifecycle = {"prevent_destroy": place.protected}
        self._ring = google.kms_key_ring.KmsKeyRing(
            self, "ring", name=place.platform, location=place.region, lifecycle=lifecycle, depends_on=[after]
        )
        self._key = google.kms_crypto_key.KmsCryptoKey(
            self,
            "Default",
            name=place.platform,
            key_ring=self._ring.id,
            rotation_period=f"{90 * 24 * 3600}s",  # then a new version encrypts; old ones still decrypt
            lifecycle=lifecycle,
        )

    def grant_use(self, principal: Principal) -> Sequence[TerraformResource]:
        """Let a principal encrypt and decrypt. Returns the grant, if it is made here."""
        if self._ring is None:
            return ()
        grant = principal.grant(
            google.kms_crypto_key_iam_member.KmsCryptoKeyIamMember,
            f"use-{self._platform}",
            "roles/cloudkms.cryptoKeyEncrypterDecrypter",
            self._key,
            crypto_key_id=self.path,
        )
        return (grant,)

    def grant_read_settings(self, principal: Principal) -> None:
        """Let a principal see ring, key and their policies, but not use the key."""
        self._grant_on_ring(principal, "roles/cloudkms.viewer")

    def grant_administer(self, principal: Principal) -> None:
        """Let a principal change ring, key and their policies, but not use the key."""
        self._grant_on_ring(principal, "roles/cloudkms.admin")

    def _grant_on_ring(self, principal: Principal, role: str) -> None:
        if self._ring is None:
            return
        principal.grant(
            google.kms_key_ring_iam_member.KmsKeyRingIamMember,
            f"{role.removeprefix('roles/')}-{self._platform}",
            role,
            self._ring,
            key_ring_id=self._ring_path,
        )
