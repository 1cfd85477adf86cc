"""Settings of the stack `foundation`."""

from typing import Literal

from pydantic import Field

from infra.environment.value_types import CiRepository, Section


class CiSettings(Section):
    """The repository whose CI may plan and apply."""

    issuer: Literal["github", "gitlab"] = Field(
        "github", description="who runs it: GitHub Actions, or GitLab CI on gitlab.com"
    )
    repository: CiRepository = Field(description="repository whose workflows may, as owner/name")
    repository_id: int = Field(
        ge=1,
        description="number of that repository, which nobody can take over with its name: `id` of "
        "https://api.github.com/repos/OWNER/NAME, or the project ID that GitLab shows",
    )
