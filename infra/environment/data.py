"""Settings of the stack `data`."""

from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import Field

from infra.environment.tfvars import Key
from infra.environment.value_types import UNIQUE, Days, IamMember, Region, Section

# https://cloud.google.com/storage/docs/locations#location-dr
CONTINENTS: Final = {"europe": "EU", "us": "US", "asia": "ASIA"}
"""By the beginning of a region's name, what Cloud Storage calls a pair of its regions."""


class DataSettings(Section):
    """Tables and buckets."""

    keep_predictions_days: Days = Field(default=400, description="days after which predictions are deleted")
    keep_requests_days: Days = Field(
        default=90, description="days after which requests, as published, are deleted"
    )
    keep_audit_logs_days: Days = Field(
        default=30, description="days that logs of who read and changed what stay"
    )
    query_gb_per_user: int | None = Field(
        default=None,
        ge=1,
        description="most GiB that one person or account may query on a day; no cap without it",
    )
    keep_versions: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="versions kept of a replaced or deleted object",
    )
    soft_delete_days: int = Field(
        default=7,
        ge=0,
        le=90,
        description="days in which deleted objects can be restored: 0, or 7 to 90",
    )
    second_region: Region | None = Field(
        default=None,
        description="region of the same continent that also has all models, and each day a copy of the "
        "tables; changing it replaces the bucket of models",
    )
    readers: Annotated[tuple[IamMember, ...], UNIQUE] = Field(
        default=(), description="who may read sales and predictions in BigQuery"
    )

    def _contradictions(self) -> Iterator[tuple[Key, str]]:
        # https://cloud.google.com/storage/docs/soft-delete#retention-duration
        if 0 < self.soft_delete_days < 7:
            yield ("soft_delete_days",), f"Cloud Storage takes 0 or 7 to 90, found {self.soft_delete_days}"
