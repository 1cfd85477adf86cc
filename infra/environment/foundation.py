"""Settings of the stack `foundation`."""

from pydantic import Field

from infra.environment.value_types import GitBranch, GitHubRepository, Section


class CiSettings(Section):
    """The repository whose GitHub Actions workflows may plan and apply."""

    repository: GitHubRepository = Field(description="repository whose workflows may, as owner/name")
    repository_id: int = Field(
        ge=1,
        description="number of that repository, which nobody can take over with its name: `id` of "
        "https://api.github.com/repos/OWNER/NAME",
    )
    branch: GitBranch = Field(default="main", description="branch that is applied")


class EncryptionSettings(Section):
    """A customer-managed key for images, cluster secrets and backups."""

    rotation_days: int = Field(
        default=90, ge=1, le=365, description="days after which a new version encrypts"
    )
