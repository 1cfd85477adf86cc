"""Settings of the project itself: enabled APIs, what is logged, and what its default accounts may do."""

from collections.abc import Iterable, Sequence
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of

project_service = google.project_service

_AUDITED: Final = ("bigquery", "secretmanager", "storage")
AUDIT: Final = "audit"
"""Name of the log bucket that tells who read and changed what, and of its sink."""


def enable_apis(scope: Construct, names: Iterable[str]) -> dict[str, project_service.ProjectService]:
    """Enable APIs. A destruction leaves them enabled: disabling an API deletes what was made with it."""
    return {
        name: project_service.ProjectService(
            scope, name, service=f"{name}.googleapis.com", disable_on_destroy=False
        )
        for name in names
    }


def custom_role(
    scope: Construct,
    id_: str,
    *,
    role_id: str,
    title: str,
    description: str,
    permissions: Iterable[str],
    after: Sequence[TerraformResource],
) -> TerraformResource:
    """Make a role of the project's own, which grants call by its `custom_role_name`."""
    return google.project_iam_custom_role.ProjectIamCustomRole(
        scope,
        id_,
        role_id=role_id,
        title=title,
        description=description,
        permissions=sorted(permissions),
        depends_on=[*after],
    )


def custom_role_name(scope: Construct, role_id: str) -> str:
    """Full name of a custom role of the project."""
    return f"projects/{place_of(scope).project_id}/roles/{role_id}"


class ProjectSettings(Construct):
    """Audit logs tell who read and wrote data, and default service accounts lose their role Editor.

    Args:
        keep_audit_logs_days: days that audit logs stay.
    """

    def __init__(
        self, scope: Construct, id_: str, *, keep_audit_logs_days: int, after: Sequence[TerraformResource]
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        project = place.project_id
        for api in _AUDITED:
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
