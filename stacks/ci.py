"""What CI may do in a project, stack by stack.

Resources that Terraform has yet to create have no policy, so these roles are granted on the project. What
exists before CI uses it (the bucket of states, the key, accounts of workloads, the image repository) is
granted on the resource itself, where it is created.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.cdk import TerraformResource, google
from infra.cdk.stack import PlatformStack
from infra.cdk.waivers import waive
from infra.environment import Environment, StackName
from infra.google.ci_identity import CiIdentity

_APPLIES: Final = "what applies the stacks manages what they own; roles it may grant are limited"
_PLAN_ROLE: Final = "ciPlan"


@dataclass(frozen=True)
class Rights:
    """Rights that CI needs for some resources.

    Attributes:
        plan: roles that read them.
        plan_permissions: permissions that read them, where every predefined role would read their content,
        too.
        apply: roles that create, change and delete them.
        grants: project roles that the stack grants.
    """

    plan: Sequence[str] = ()
    plan_permissions: Sequence[str] = ()
    apply: Sequence[str] = ()
    grants: Sequence[str] = ()


_RIGHTS: Final[Mapping[StackName, Rights]] = {
    # This stack also defines what CI may do. Only a person may change that.
    "foundation": Rights(
        plan=(
            "roles/compute.viewer",
            "roles/iam.roleViewer",
            "roles/iam.securityReviewer",  # reads the policies of all resources, hence all grants
            "roles/iam.serviceAccountViewer",
            "roles/iam.workloadIdentityPoolViewer",
            "roles/serviceusage.serviceUsageViewer",
        ),
        apply=(
            "roles/compute.networkAdmin",
            "roles/iam.roleViewer",
            "roles/iam.serviceAccountAdmin",  # every stack with workloads creates accounts
            "roles/iam.workloadIdentityPoolViewer",
            "roles/serviceusage.serviceUsageAdmin",
        ),
    ),
    "registry": Rights(
        plan_permissions=("artifactregistry.repositories.get",), apply=("roles/artifactregistry.admin",)
    ),
    "cluster": Rights(
        plan=("roles/container.viewer",),
        apply=("roles/container.admin",),  # includes the objects in the cluster
        grants=("roles/container.defaultNodeServiceAccount",),
    ),
    "data": Rights(
        plan=("roles/bigquery.metadataViewer",),
        plan_permissions=("storage.buckets.get",),
        apply=("roles/bigquery.dataOwner", "roles/storage.admin"),
    ),
    "messaging": Rights(plan=("roles/pubsub.viewer",), apply=("roles/pubsub.admin",)),
    "orchestration": Rights(
        plan=("roles/secretmanager.viewer",),  # names only, not values
        plan_permissions=("composer.environments.get",),
        apply=("roles/composer.admin", "roles/secretmanager.admin"),
        grants=(
            "roles/bigquery.jobUser",
            "roles/composer.worker",
            "roles/container.viewer",
            "roles/dataflow.developer",
            "roles/dataflow.worker",
        ),
    ),
    "services": Rights(apply=("roles/bigquery.jobUser",)),  # scripts/verify asks for the rows of its request
    "observability": Rights(
        plan=("roles/monitoring.viewer",),
        apply=(
            "roles/logging.configWriter",
            "roles/monitoring.editor",
        ),  # logging.configWriter for alerts on logs
    ),
}


def rights(environment: Environment) -> Iterator[Rights]:
    """Rights that CI needs in an environment."""
    for stack in environment.stacks:
        yield _RIGHTS[stack]
    if "cluster" in environment.stacks:
        if environment.cluster.backup:
            yield Rights(plan=["roles/gkebackup.viewer"], apply=["roles/gkebackup.admin"])
        if environment.cluster.binary_authorization:
            yield Rights(
                plan=["roles/binaryauthorization.policyViewer"],
                apply=["roles/binaryauthorization.policyEditor"],
            )
    if "services" in environment.stacks and environment.gateway:
        yield Rights(
            plan=["roles/certificatemanager.viewer"],
            apply=["roles/certificatemanager.owner", "roles/compute.securityAdmin"],
        )
        if environment.gateway.iap_members:
            yield Rights(apply=["roles/iap.admin"])
    if "observability" in environment.stacks and environment.budget:
        yield Rights(plan_permissions=["serviceusage.services.use"])  # calls are billed to the project


def grant_rights(scope: PlatformStack, ci: CiIdentity, *, after: Sequence[TerraformResource]) -> None:
    """Grant the identities of CI the rights that the stacks of an environment need.

    Args:
        scope: the stack.
        ci: the identities.
        after: resources that must exist first.
    """
    environment = scope.environment
    taken = tuple(rights(environment))
    settings = google.project_iam_custom_role.ProjectIamCustomRole(
        scope,
        "plan-role",
        role_id=_PLAN_ROLE,
        title="CI plan",
        description="Settings of resources without their content",
        permissions=sorted({permission for each in taken for permission in each.plan_permissions}),
        depends_on=after,
    )
    ci.plan.grant_project_role(f"projects/{environment.project_id}/roles/{_PLAN_ROLE}", after=[settings])
    for role in sorted({role for each in taken for role in each.plan}):
        ci.plan.grant_project_role(role)
    for role in sorted({role for each in taken for role in each.apply}):
        grant = ci.apply.grant_project_role(role)
        if re.search(r"[aA]dmin|\.(editor|owner)$", role):  # as checkov does
            waive(grant, {"CKV_GCP_42": _APPLIES})
        if role == "roles/iam.serviceAccountAdmin":
            waive(grant, {"CKV_GCP_49": _APPLIES})
    # Without the condition, CI could grant itself any role.
    # https://cloud.google.com/iam/docs/setting-limits-on-granting-roles
    grants = ", ".join(f"'{role}'" for role in sorted({role for each in taken for role in each.grants}))
    grant = ci.apply.grant_project_role(
        "roles/resourcemanager.projectIamAdmin",
        condition=google.project_iam_member.ProjectIamMemberCondition(
            title="only roles that stacks grant",
            expression=f"api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([{grants}])",
        ),
    )
    waive(grant, {"CKV_GCP_42": _APPLIES})
    for account, role in ((ci.plan, "roles/storage.objectViewer"), (ci.apply, "roles/storage.objectUser")):
        account.bind(
            google.storage_bucket_iam_member.StorageBucketIamMember(
                account,
                "states",
                bucket=environment.state_bucket,
                role=role,
                member=account.member,
            ),
        )
