"""Settings of the project: what exists already, CI, images, stored data, messages, alerts and the budget."""

from typing import Annotated, Final, Literal

from pydantic import Field

from infra.environment.value_types import (
    Contradictions,
    Days,
    Hostname,
    IamMember,
    Network,
    ProjectId,
    Region,
    Section,
    UniqueList,
    matching,
)

ResourceName = Annotated[
    str, matching("[a-z]([a-z0-9-]{0,61}[a-z0-9])?", "a name: lower-case letters, digits and hyphens")
]
KeyName = Annotated[
    str,
    matching(
        r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+",
        "a key's full name: projects/P/locations/REGION/keyRings/R/cryptoKeys/K",
    ),
]
# Repository and branch are part of the subject of a token, which may have 127 bytes:
# https://cloud.google.com/iam/docs/workload-identity-federation#mapping
CiRepository = Annotated[
    str,
    matching(
        r"(?=.{1,80}$)[A-Za-z0-9][A-Za-z0-9-]*(/[\w.-]+)+",
        "a repository of the issuer: owner/name, up to 80 characters",
    ),
]
Email = Annotated[str, matching(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", "a mail address")]
BillingAccount = Annotated[
    str, matching("([0-9A-F]{6}-){2}[0-9A-F]{6}", "a billing account: 012345-6789AB-CDEF01")
]

# https://cloud.google.com/storage/docs/locations#location-dr
CONTINENTS: Final = {"europe": "EU", "us": "US", "asia": "ASIA"}
"""By the beginning of a region's name, what Cloud Storage calls a pair of its regions."""


class ExistingNetwork(Section):
    """A network with all that the platform needs of it, such as that of a Shared VPC's host project."""

    project_id: ProjectId = Field(description="project that has it: the host project of a Shared VPC")
    name: ResourceName = Field(description="its name")
    subnet: ResourceName = Field(description="its subnet in the environment's region, for nodes and Airflow")
    pods: ResourceName = Field(description="secondary range of that subnet for pods, by name")
    services: ResourceName = Field(description="secondary range of that subnet for Kubernetes' Services")
    proxy_only: Network = Field(description="range of the region's proxy-only subnet, for load balancers")


class ExistingCluster(Section):
    """A regional GKE cluster in the environment's project and region, with Workload Identity."""

    name: ResourceName = Field(description="its name")
    dns_name: Hostname = Field(description="DNS name of its control plane, as gke-....gke.goog")


class ExistingRepository(Section):
    """A Docker repository of Artifact Registry."""

    project_id: ProjectId = Field(description="project that has it")
    location: Region = Field(description="its region")
    name: ResourceName = Field(description="its name")


class ExistingSettings(Section):
    """What somebody else owns. The stacks change nothing of it, not even who may use it."""

    network: ExistingNetwork | None = Field(default=None, description="instead of the key network")
    cluster: ExistingCluster | None = Field(
        default=None, description="instead of the stack and section cluster"
    )
    repository: ExistingRepository | None = Field(default=None, description="instead of the stack registry")
    key: KeyName | None = Field(
        default=None, description="key in the environment's region; implies encryption"
    )


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


class RegistrySettings(Section):
    """Retention and scanning of images; tagged ones stay."""

    keep_versions: int = Field(
        default=20, ge=1, le=1000, description="versions of each image that stay, even untagged"
    )
    untagged_days: int = Field(default=14, ge=1, le=365, description="days until other untagged images go")
    scan: bool = Field(default=True, description="scan images for vulnerabilities; each scan is billed")


class DataSettings(Section):
    """Tables and buckets."""

    keep_predictions_days: Days = Field(default=400, description="days until predictions are deleted")
    keep_requests_days: Days = Field(default=90, description="days until published requests are deleted")
    keep_audit_logs_days: Days = Field(default=30, description="days that logs of reads and changes stay")
    query_gb_per_user: int | None = Field(
        default=None, ge=1, description="most GiB a person or account may query on a day; no cap without it"
    )
    keep_versions: int = Field(default=10, ge=1, le=1000, description="old versions kept of each object")
    soft_delete_days: int = Field(
        default=7, ge=0, le=90, description="days in which deleted objects can be restored: 0, or 7 to 90"
    )
    second_region: Region | None = Field(
        default=None,
        description="region of the same continent that also has all models, and each day a copy of the "
        "tables; changing it replaces the bucket of models",
    )
    readers: UniqueList[IamMember] = Field(
        default=(), description="who may read sales and predictions in BigQuery"
    )

    def _contradictions(self) -> Contradictions:
        # https://cloud.google.com/storage/docs/soft-delete#retention-duration
        if 0 < self.soft_delete_days < 7:
            yield ("soft_delete_days",), f"Cloud Storage takes 0 or 7 to 90, found {self.soft_delete_days}"


class MessagingSettings(Section):
    """Retention. Limits are those of https://cloud.google.com/pubsub/quotas#resource_limits."""

    retention_days: int = Field(
        default=7, ge=1, le=31, description="days that subscriptions keep unacknowledged messages"
    )
    replay_days: int = Field(
        default=7, ge=1, le=31, description="days that published requests can be delivered again, by a seek"
    )


class AlertingSettings(Section):
    """Who is alerted."""

    email: Email = Field(description="address that alerts are mailed to")
    pagerduty: bool = Field(
        False, description="page somebody for urgent alerts; the key is the variable pagerduty_service_key"
    )
    runbook: str | None = Field(
        None, min_length=1, description="URL of the runbook; without it, the file in the repository of `ci`"
    )


class BudgetSettings(Section):
    """Monthly budget of the environment."""

    billing_account: BillingAccount = Field(description="the project's billing account: 012345-6789AB-CDEF01")
    amount: int = Field(ge=1, description="budget of a month, in the currency of the billing account")
