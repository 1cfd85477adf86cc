"""A secret in Secret Manager."""

from infra.cdk import Construct, google
from infra.cdk.stack import place_of
from infra.google.identity import Principal


class Secret(Construct):
    """A secret in one region, without a value. A person adds it, so no file and no state contains it."""

    def __init__(self, scope: Construct, id_: str, *, name: str):
        super().__init__(scope, id_)
        place = place_of(self)
        self._name = name
        self._resource = google.secret_manager_secret.SecretManagerSecret(
            self,
            "Default",
            secret_id=name,
            # Automatic replication would store it in regions that Google chooses.
            replication={"user_managed": {"replicas": [{"location": place.region}]}},
            deletion_protection=place.protected,
        )

    def grant_read(self, principal: Principal) -> None:
        """Let a principal read the value."""
        principal.grant(
            google.secret_manager_secret_iam_member.SecretManagerSecretIamMember,
            f"read-{self._name}",
            "roles/secretmanager.secretAccessor",
            self._resource,
            secret_id=self._name,
        )
