"""Settings of the project itself: what is logged of its use, and what its default accounts may do."""

from collections.abc import Sequence
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import environment_of

audit = google.project_iam_audit_config

_AUDITED: Final = ("bigquery", "secretmanager", "storage")


class ProjectSettings(Construct):
    """Audit logs tell who read and wrote data, and default service accounts lose their role Editor.

    Args:
        after: resources that must exist first.
    """

    def __init__(self, scope: Construct, id_: str, *, after: Sequence[TerraformResource]):
        super().__init__(scope, id_)
        project = environment_of(self).project_id
        for api in _AUDITED:
            audit.ProjectIamAuditConfig(
                self,
                f"audit-{api}",
                project=project,
                service=f"{api}.googleapis.com",
                audit_log_config=[
                    audit.ProjectIamAuditConfigAuditLogConfig(log_type=kind)
                    for kind in ("DATA_READ", "DATA_WRITE")
                ],
            )
        google.project_default_service_accounts.ProjectDefaultServiceAccounts(
            self,
            "default-accounts",
            project=project,
            action="DEPRIVILEGE",  # nothing of the platform runs as them
            restore_policy="NONE",  # a destruction is no reason to make them editors again
            depends_on=after,
        )
