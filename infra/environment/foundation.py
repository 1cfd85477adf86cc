"""Settings of the stack `foundation`."""

from pydantic import Field

from infra.environment.value_types import GitHubRepository, Section


class CiSettings(Section):
    """The repository whose GitHub Actions workflows may plan and apply."""

    repository: GitHubRepository = Field(description="repository whose workflows may, as owner/name")
    repository_id: int = Field(
        ge=1,
        description="number of that repository, which nobody can take over with its name: `id` of "
        "https://api.github.com/repos/OWNER/NAME",
    )
