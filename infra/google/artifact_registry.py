"""A repository of container images."""

from collections.abc import Sequence

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.google.identity import Principal
from infra.google.key import Key


class ImageRepository(Construct):
    """A Docker repository in one region.

    Args:
        keep_versions: versions of each image that stay.
        untagged_days: days after which other untagged images go.
        scan: look for vulnerabilities, which is billed for each image.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        keep_versions: int,
        untagged_days: int,
        scan: bool,
        key: Key | None,
        may_use_key: Sequence[TerraformResource],
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        self._resource = google.artifact_registry_repository.ArtifactRegistryRepository(
            self,
            "Default",
            repository_id=place.platform,
            location=place.region,
            format="DOCKER",
            description="Images of the services",
            # A tag always names the same image; tagged images can only be deleted with their repository.
            docker_config={"immutable_tags": True},
            kms_key_name=key.path if key else None,
            vulnerability_scanning_config={
                # INHERITED means on, since the scanner's API is enabled
                "enablement_config": "INHERITED" if scan else "DISABLED"
            },
            cleanup_policy_dry_run=False,
            cleanup_policies=[
                # KEEP policies take precedence over DELETE policies.
                {
                    "id": "keep-recent",
                    "action": "KEEP",
                    "most_recent_versions": {"keep_count": keep_versions},
                },
                {
                    "id": "delete-untagged",
                    "action": "DELETE",
                    "condition": {"tag_state": "UNTAGGED", "older_than": f"{untagged_days * 24 * 3600}s"},
                },
            ],
            depends_on=may_use_key,
        )

    def grant_read(self, principal: Principal) -> TerraformResource:
        """Let a principal pull images. Returns the grant."""
        place = place_of(self)
        return principal.grant(
            google.artifact_registry_repository_iam_member.ArtifactRegistryRepositoryIamMember,
            f"read-{place.platform}",
            "roles/artifactregistry.reader",
            self._resource,
            repository=place.platform,
            location=place.region,
        )
