"""Settings of the project itself: APIs, what is logged, what default accounts may do, caps on use."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of

AUDIT: Final = "audit"
"""Name of the log bucket that tells who read and changed what, and of its sink."""


def enable_apis(scope: Construct, names: Iterable[str]) -> dict[str, TerraformResource]:
    """Enable APIs. A destruction leaves them enabled: disabling an API deletes what was made with it."""
    return {
        name: google.project_service.ProjectService(
            scope, name, service=f"{name}.googleapis.com", disable_on_destroy=False
        )
        for name in names
    }


def custom_role_name(scope: Construct, role_id: str) -> str:
    """Full name of a custom role of the project."""
    return f"projects/{place_of(scope).project_id}/roles/{role_id}"


class ProjectSettings(Construct):
    """Audit logs tell who read and wrote data, and default service accounts lose their role Editor."""

    def __init__(
        self, scope: Construct, id_: str, *, keep_audit_logs_days: int, after: Sequence[TerraformResource]
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        project = place.project_id
        for api in ("bigquery", "secretmanager", "storage"):
            google.project_iam_audit_config.ProjectIamAuditConfig(
                self,
                f"audit-{api}",
                project=project,
                service=f"{api}.googleapis.com",
                audit_log_config=[{"log_type": kind} for kind in ("DATA_READ", "DATA_WRITE")],
            )
        # By default such logs go after 30 days. A sink needs no grant for a bucket of its own project.
        destination = f"projects/{project}/locations/{place.region}/buckets/{AUDIT}"
        bucket = google.logging_project_bucket_config.LoggingProjectBucketConfig(
            self,
            "audit-bucket",
            project=project,
            location=place.region,
            bucket_id=AUDIT,
            description="Who read and changed what",
            retention_days=keep_audit_logs_days,
            depends_on=after,
        )
        reads = 'log_id("cloudaudit.googleapis.com/data_access")'
        sink = google.logging_project_sink.LoggingProjectSink(
            self,
            "audit-sink",
            name=AUDIT,
            destination=f"logging.googleapis.com/{destination}",
            filter=f'{reads} OR log_id("cloudaudit.googleapis.com/activity")',
            depends_on=[bucket],
        )
        # A log is billed for each bucket that stores it, and they are kept here.
        google.logging_project_exclusion.LoggingProjectExclusion(
            self,
            "audit-exclusion",
            name=f"{AUDIT}-stores-them",
            description=f"Logs of who read data are in the bucket {AUDIT}, not in _Default too",
            filter=reads,
            depends_on=[sink],
        )
        google.project_default_service_accounts.ProjectDefaultServiceAccounts(
            self,
            "default-accounts",
            project=project,
            action="DEPRIVILEGE",  # nothing of the platform runs as them
            restore_policy="NONE",  # a destruction is no reason to make them editors again
            depends_on=after,
        )


def cap_queries(scope: Construct, *, gigabytes: int, email: str, after: Sequence[TerraformResource]) -> None:
    """Cap what each person and account may query in BigQuery on a day; a query beyond it fails.

    By default there is no cap for one user: https://cloud.google.com/bigquery/docs/custom-quotas.
    """
    _cap(
        scope,
        "queries-per-user",
        gigabytes * 1024,  # in MiB
        email,
        after,
        name="bigquery-queries-per-user",
        service="bigquery.googleapis.com",
        quota_id="QueryUsagePerUserPerDay",
    )


def cap_cpus(
    scope: Construct, metric: str, *, most: int, email: str, after: Sequence[TerraformResource]
) -> None:
    """Cap the CPUs of machines in the region; one beyond it is not made.

    Google refuses a cap below what is in use. `gcloud compute regions describe` names the metrics: `N2_CPUS`.
    """
    family = metric.replace("_", "-")
    _cap(
        scope,
        f"{family.lower()}-of-region",
        most,
        email,
        after,
        name=f"compute-{family.lower()}",
        service="compute.googleapis.com",
        quota_id=f"{family}-per-project-region",
        dimensions={"region": place_of(scope).region},
    )


def _cap(
    scope: Construct, id_: str, most: int, email: str, after: Sequence[TerraformResource], **arguments: Any
) -> None:
    """Cap what the project uses of a service, once there are two APIs: that of quotas, and the one it caps.

    Google deletes no cap: a destruction leaves it, and `scripts/bootstrap.sh` imports it before a new
    deployment.
    """
    google.cloud_quotas_quota_preference.CloudQuotasQuotaPreference(
        scope,
        id_,
        parent=f"projects/{place_of(scope).project_id}",
        quota_config={"preferred_value": str(most)},
        contact_email=email,
        # The first cap is a decrease, from no limit or Google's; a higher one later is a request, which names
        # a person.
        ignore_safety_checks="QUOTA_DECREASE_PERCENTAGE_TOO_HIGH",
        depends_on=after,
        **arguments,
    )
