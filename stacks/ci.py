"""What CI may do in a project, stack by stack.

Terraform creates the resources, and what does not exist yet has no policy: these roles are the project's.
Where something exists before CI uses it (the bucket of states, the key, an account that workloads get, the
repository that images are pushed to) the grant is on it, and stands where it is made.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.waivers import waive
from infra.environment import Environment, StackName
from infra.google.ci_identity import CiIdentity

_APPLIES: Final = "what applies the stacks manages what they own; roles it may grant are limited"
_PLAN_ROLE: Final = "ciPlan"


@dataclass(frozen=True)
class Rights:
    """What CI takes for some resources.

    Attributes:
        plan: roles to see them.
        plan_permissions: to see those of which every role that sees them shows their content as well.
        apply: roles to create, change and delete them.
        grants: roles on the project that are granted with them.
    """

    plan: Sequence[str] = ()
    plan_permissions: Sequence[str] = ()
    apply: Sequence[str] = ()
    grants: Sequence[str] = ()


_RIGHTS: Final[Mapping[StackName, Rights]] = {
    # Who CI is and what it may do, this stack's other part, is not for CI to change: a person does.
    "foundation": Rights(
        plan=(
            "roles/compute.viewer",
            "roles/iam.roleViewer",
            "roles/iam.securityReviewer",  # the policies of everything, which hold all grants
            "roles/iam.serviceAccountViewer",
            "roles/iam.workloadIdentityPoolViewer",
            "roles/serviceusage.serviceUsageViewer",
        ),
        apply=(
            "roles/compute.networkAdmin",
            "roles/iam.roleViewer",
            "roles/iam.serviceAccountAdmin",  # every stack with workloads has accounts
            "roles/iam.workloadIdentityPoolViewer",
            "roles/serviceusage.serviceUsageAdmin",
        ),
    ),
    "registry": Rights(
        plan_permissions=("artifactregistry.repositories.get",),
        apply=("roles/artifactregistry.admin",),
    ),
    "cluster": Rights(
        plan=("roles/container.viewer",),
        apply=("roles/container.admin",),  # of what is in the cluster as well: the services
        grants=("roles/container.defaultNodeServiceAccount",),
    ),
    "data": Rights(
        plan=("roles/bigquery.metadataViewer",),
        plan_permissions=("storage.buckets.get",),
        apply=("roles/bigquery.dataOwner", "roles/storage.admin"),
    ),
    "messaging": Rights(
        plan=("roles/pubsub.viewer",),
        apply=("roles/pubsub.admin",),
    ),
    "orchestration": Rights(
        plan=("roles/secretmanager.viewer",),  # of their names
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
    "services": Rights(),
    "observability": Rights(
        plan=("roles/monitoring.viewer",),
        apply=("roles/logging.configWriter", "roles/monitoring.editor"),  # the former for alerts on logs
    ),
}


def rights(environment: Environment) -> Iterator[Rights]:
    """What CI takes in an environment, for what there is in it."""
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
        if environment.gateway.dns_zone:
            yield Rights(plan=["roles/dns.reader"], apply=["roles/dns.admin"])
        if environment.gateway.iap_members:
            yield Rights(apply=["roles/iap.admin"])


def grant_rights(
    scope: Construct,
    ci: CiIdentity,
    *,
    environment: Environment,
    states: str,
    after: Sequence[TerraformResource],
) -> None:
    """Grant the two identities what the stacks of an environment take.

    Args:
        scope: where the role belongs that is made for it.
        ci: the identities.
        environment: with the stacks.
        states: name of the bucket of Terraform's states, which is there before any stack.
        after: what must exist first.
    """
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
    # Without the condition, who may grant roles may grant himself any.
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
    for account, role in (
        (ci.plan, "roles/storage.objectViewer"),
        (ci.apply, "roles/storage.objectUser"),
    ):
        google.storage_bucket_iam_member.StorageBucketIamMember(
            account,
            "states",
            bucket=states,
            role=role,
            member=account.member,
            depends_on=account.depends_on(),
        )
