"""Settings of the stack `registry`."""

from pydantic import Field

from infra.environment.value_types import Section


class RegistrySettings(Section):
    """How long images stay."""

    keep_versions: int = Field(
        default=20, ge=1, le=1000, description="versions of each image that stay in any case, to roll back to"
    )
    untagged_days: int = Field(
        default=14, ge=1, le=365, description="days after which others without a tag go"
    )
    scan: bool = Field(default=True, description="scan images for vulnerabilities, which is billed for each")
