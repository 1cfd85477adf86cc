"""A repository of container images."""

from typing import Final

from infra.identity import Principal
from infra.providers import (
    ArtifactRegistryRepository,
    ArtifactRegistryRepositoryCleanupPolicies,
    ArtifactRegistryRepositoryCleanupPoliciesCondition,
    ArtifactRegistryRepositoryCleanupPoliciesMostRecentVersions,
    ArtifactRegistryRepositoryDockerConfig,
    ArtifactRegistryRepositoryIamMember,
    Construct,
)

_KEEP: Final = 20
"""Versions of each image that stay however old they are: enough to roll back to."""


class ImageRepository(Construct):
    """A Docker repository in one region.

    Attributes:
        address: with which the names of its images begin.
    """

    def __init__(self, scope: Construct, id_: str, *, project: str, region: str, name: str):
        super().__init__(scope, id_)
        self._name = name
        self._region = region
        self.address: Final = f"{region}-docker.pkg.dev/{project}/{name}"
        self._resource = ArtifactRegistryRepository(
            self,
            "Default",
            repository_id=name,
            location=region,
            format="DOCKER",
            description="Images of the services",
            docker_config=ArtifactRegistryRepositoryDockerConfig(immutable_tags=True),
            cleanup_policies=[
                ArtifactRegistryRepositoryCleanupPolicies(
                    id="keep-recent",
                    action="KEEP",
                    most_recent_versions=ArtifactRegistryRepositoryCleanupPoliciesMostRecentVersions(
                        keep_count=_KEEP
                    ),
                ),
                ArtifactRegistryRepositoryCleanupPolicies(
                    id="delete-old",
                    action="DELETE",
                    condition=ArtifactRegistryRepositoryCleanupPoliciesCondition(
                        tag_state="ANY", older_than=f"{30 * 24 * 3600}s"
                    ),
                ),
            ],
        )

    def grant_read(self, principal: Principal) -> None:
        """Let somebody pull images."""
        ArtifactRegistryRepositoryIamMember(
            principal,
            f"read-{self._name}",
            repository=self._name,
            location=self._region,
            role="roles/artifactregistry.reader",
            member=principal.member,
            depends_on=principal.depends_on(self._resource),
        )
