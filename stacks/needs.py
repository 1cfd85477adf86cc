"""What the stacks need of their project: APIs, and rights of CI.

Resources that Terraform has yet to create have no policy, so CI's roles are granted on the project. What
exists before CI uses it (the bucket of states, the key, accounts of workloads, the image repository) is
granted on the resource itself, where it is created.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

from infra.cdk import TerraformResource, google
from infra.cdk.stack import PlatformStack
from infra.cdk.waivers import waive
from infra.environment import Environment, StackName
from infra.google.ci_identity import CiIdentity
from infra.google.project import custom_role_name

IAM_APIS: Final = ("cloudresourcemanager", "iam")

_APPLIES: Final = "what applies the stacks manages what they own; roles it may grant are limited"


@dataclass(frozen=True)
class Needs:
    """What some resources need of the project.

    Attributes:
        apis: without `.googleapis.com`.
        plan: roles with which CI reads the resources.
        plan_permissions: for that, where every predefined role would read their content, too.
        apply: roles with which CI creates, changes and deletes them.
        apply_permissions: for that, where every predefined role would read their content, too.
        grants: roles on the project that the stack grants to pods, whose identities come with the cluster.
    """

    apis: Sequence[str] = ()
    plan: Sequence[str] = ()
    plan_permissions: Sequence[str] = ()
    apply: Sequence[str] = ()
    apply_permissions: Sequence[str] = ()
    grants: Sequence[str] = ()


_STACKS: Final[Mapping[StackName, Needs]] = {
    # This stack also defines what CI may do. Only a person may change that.
    "foundation": Needs(
        apis=("compute", "dns", "logging", *IAM_APIS),
        plan=(
            "roles/compute.viewer",
            "roles/dns.reader",
            "roles/iam.roleViewer",
            "roles/iam.securityReviewer",  # reads the policies of all resources, hence all grants
            "roles/iam.serviceAccountViewer",
            "roles/iam.workloadIdentityPoolViewer",  # lists attestation rules, too, which the provider reads
            "roles/serviceusage.serviceUsageViewer",
        ),
        plan_permissions=("logging.buckets.get", "logging.exclusions.get", "logging.sinks.get"),
        apply=(
            "roles/compute.networkAdmin",
            "roles/dns.admin",
            "roles/iam.roleViewer",
            "roles/iam.serviceAccountViewer",
            "roles/iam.workloadIdentityPoolViewer",
            "roles/logging.configWriter",
            "roles/serviceusage.serviceUsageAdmin",
        ),
    ),
    "registry": Needs(
        apis=("artifactregistry",),
        plan_permissions=("artifactregistry.repositories.get",),
        apply=("roles/artifactregistry.admin",),
    ),
    "cluster": Needs(
        apis=("container", "containersecurity", "pubsub"),
        plan=("roles/container.viewer", "roles/pubsub.viewer"),
        # The former includes the objects in the cluster.
        apply=("roles/container.admin", "roles/pubsub.admin"),
    ),
    "data": Needs(
        apis=("bigquery", "bigquerystorage", "storage"),
        plan=("roles/bigquery.metadataViewer",),
        plan_permissions=("storage.buckets.get",),
        apply=("roles/bigquery.dataOwner", "roles/storage.admin"),
    ),
    "messaging": Needs(apis=("pubsub",), plan=("roles/pubsub.viewer",), apply=("roles/pubsub.admin",)),
    "orchestration": Needs(
        apis=("composer", "dataflow", "secretmanager"),
        plan=("roles/secretmanager.viewer",),  # names only, not values
        plan_permissions=("composer.environments.get",),
        apply=("roles/composer.admin",),
        apply_permissions=[
            f"secretmanager.secrets.{each}"  # and no version of one: a person adds the value
            for each in ("create", "delete", "get", "getIamPolicy", "setIamPolicy", "update")
        ],
        grants=("roles/bigquery.jobUser",),
    ),
    "services": Needs(apply=("roles/bigquery.jobUser",)),  # scripts/verify asks for the rows of its request
    "observability": Needs(
        apis=("monitoring",),
        plan=("roles/monitoring.viewer",),
        apply=(
            "roles/logging.configWriter",  # for alerts on logs
            "roles/monitoring.editor",
        ),
    ),
}


# Only a person may change them.
_ATTESTORS: Final = ("roles/binaryauthorization.attestorsViewer", "roles/containeranalysis.notes.viewer")


def needs(environment: Environment) -> Needs:
    """What the stacks of an environment need together, each once."""
    parts = [*(_STACKS[stack] for stack in environment.stacks), *_options(environment)]
    together: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for field in fields(part):
            together[field.name].update(getattr(part, field.name))
    return Needs(**{name: sorted(values) for name, values in together.items()})


def _options(environment: Environment) -> Iterator[Needs]:
    """What those parts need that not every environment has."""
    stacks, data, cluster = environment.stacks, environment.data, environment.cluster
    if environment.ci:
        yield Needs(apis=["iamcredentials", "sts"])  # they exchange tokens
    if environment.cpu_caps or ("data" in stacks and data.query_gb_per_user):
        # Only a person may lift a cap.
        viewer = ["roles/cloudquotas.viewer"]
        yield Needs(apis=["cloudquotas"], plan=viewer, apply=viewer)
    if "data" in stacks and data.second_region:
        yield Needs(
            apis=["bigquerydatatransfer"],
            plan_permissions=["bigquery.transfers.get"],
            apply_permissions=["bigquery.transfers.get", "bigquery.transfers.update"],
        )
    if environment.trains_by_job:
        yield Needs(grants=["roles/bigquery.jobUser"])
    if environment.encrypted:
        yield Needs(apis=["cloudkms"])
    if "registry" in stacks and environment.registry.scan:
        yield Needs(apis=["containerscanning"])
    if "cluster" in stacks and cluster and cluster.backup:
        yield Needs(apis=["gkebackup"], plan=["roles/gkebackup.viewer"], apply=["roles/gkebackup.admin"])
    if environment.signs_images:
        yield Needs(
            apis=["binaryauthorization", "cloudkms", "containeranalysis"],
            plan=["roles/binaryauthorization.policyViewer", *_ATTESTORS],
            # Signatures of images are stored in the project.
            apply=[
                "roles/binaryauthorization.policyEditor",
                "roles/containeranalysis.occurrences.editor",
                *_ATTESTORS,
            ],
        )
    if "services" in stacks and environment.gateway:
        yield Needs(
            apis=["certificatemanager"],
            plan=["roles/certificatemanager.viewer"],
            apply=["roles/certificatemanager.owner", "roles/compute.securityAdmin"],
        )
        if environment.gateway.iap_members:
            yield Needs(apis=["iap"], apply=["roles/iap.admin"])
    if "orchestration" in stacks and environment.composer.deny_policy:
        # Only a person may change it, and the tag by which it knows Airflow's buckets; CI attaches the tag.
        # An organization's administrator lets CI see the policy: roles/iam.denyReviewer.
        yield Needs(plan=["roles/resourcemanager.tagViewer"], apply=["roles/resourcemanager.tagUser"])
    if "observability" in stacks and environment.budget:
        # Its calls are billed to the project.
        yield Needs(apis=["billingbudgets"], plan_permissions=["serviceusage.services.use"])


def grant_rights(scope: PlatformStack, ci: CiIdentity, *, after: Sequence[TerraformResource]) -> None:
    """Grant the identities of CI the rights that the stacks of an environment need."""
    needed = needs(scope.environment)
    for account, name, state_role, roles, permissions in (
        (ci.plan, "plan", "roles/storage.objectViewer", needed.plan, needed.plan_permissions),
        (ci.apply, "apply", "roles/storage.objectUser", needed.apply, needed.apply_permissions),
    ):
        if permissions:
            role_id = f"ci{name.title()}"
            custom = google.project_iam_custom_role.ProjectIamCustomRole(
                scope,
                f"{name}-role",
                role_id=role_id,
                title=f"CI {name}",
                description="Settings of resources without their content",
                permissions=sorted(permissions),
                depends_on=after,
            )
            account.grant_project_role(custom_role_name(scope, role_id), after=[custom])
        for role in roles:
            grant = account.grant_project_role(role)
            # Only of what applies. Checkov knows such roles by these words, and a plan has no use for one.
            if account is ci.apply and re.search(r"[aA]dmin|\.(editor|owner)$", role):
                waive(grant, {"CKV_GCP_42": _APPLIES})
        states = google.storage_bucket_iam_member.StorageBucketIamMember
        account.grant(states, "states", state_role, bucket=scope.environment.state_bucket)
    # Without the condition, CI could grant itself any role. Conditions know no members: it may let anybody
    # run queries, which shows nobody any data.
    # https://cloud.google.com/iam/docs/setting-limits-on-granting-roles
    granted = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"
    allowed = ", ".join(f"'{role}'" for role in needed.grants)
    grant = ci.apply.grant_project_role(
        "roles/resourcemanager.projectIamAdmin",
        condition={"title": "only roles that stacks grant", "expression": f"{granted}.hasOnly([{allowed}])"},
    )
    waive(grant, {"CKV_GCP_42": _APPLIES})
