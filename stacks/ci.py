"""What CI may do in a project."""

import re
from collections.abc import Sequence
from typing import Final

from infra.cdk import TerraformResource, google
from infra.cdk.stack import PlatformStack
from infra.cdk.waivers import waive
from infra.google.ci_identity import CiIdentity
from infra.google.project import custom_role, custom_role_name
from stacks.needs import needs

_APPLIES: Final = "what applies the stacks manages what they own; roles it may grant are limited"


def grant_rights(scope: PlatformStack, ci: CiIdentity, *, after: Sequence[TerraformResource]) -> None:
    """Grant the identities of CI the rights that the stacks of an environment need."""
    environment = scope.environment
    taken = tuple(needs(environment))
    for account, name, permissions in (
        (ci.plan, "plan", {permission for each in taken for permission in each.plan_permissions}),
        (ci.apply, "apply", {permission for each in taken for permission in each.apply_permissions}),
    ):
        if permissions:
            role_id = f"ci{name.title()}"
            custom = custom_role(
                scope,
                f"{name}-role",
                role_id=role_id,
                title=f"CI {name}",
                description="Settings of resources without their content",
                permissions=permissions,
                after=after,
            )
            account.grant_project_role(custom_role_name(scope, role_id), after=[custom])
    for role in sorted({role for each in taken for role in each.plan}):
        ci.plan.grant_project_role(role)
    for role in sorted({role for each in taken for role in each.apply}):
        grant = ci.apply.grant_project_role(role)
        if re.search(r"[aA]dmin|\.(editor|owner)$", role):  # as checkov does
            waive(grant, {"CKV_GCP_42": _APPLIES})
    # Without the condition, CI could grant itself any role. Conditions know no members: it may let anybody
    # run queries, which shows nobody any data.
    # https://cloud.google.com/iam/docs/setting-limits-on-granting-roles
    roles = ", ".join(f"'{role}'" for role in sorted({role for each in taken for role in each.grants}))
    granted = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"
    grant = ci.apply.grant_project_role(
        "roles/resourcemanager.projectIamAdmin",
        condition={
            "title": "only roles that stacks grant",
            "expression": f"{granted}.hasOnly([{roles}])",
        },
    )
    waive(grant, {"CKV_GCP_42": _APPLIES})
    for account, role in ((ci.plan, "roles/storage.objectViewer"), (ci.apply, "roles/storage.objectUser")):
        account.grant(
            google.storage_bucket_iam_member.StorageBucketIamMember,
            "states",
            role,
            bucket=environment.state_bucket,
        )
