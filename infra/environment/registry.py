"""Settings of the stack `registry`."""

from pydantic import Field

from infra.environment.value_types import Section


class RegistrySettings(Section):
    """Retention and scanning of images."""

    keep_versions: int = Field(
        default=20, ge=1, le=1000, description="versions of each image that stay even without a tag"
    )
    untagged_days: int = Field(
        default=14,
        ge=1,
        le=365,
        description="days until other images without a tag are deleted; tagged ones stay",
    )
    scan: bool = Field(default=True, description="scan images for vulnerabilities; each scan is billed")
