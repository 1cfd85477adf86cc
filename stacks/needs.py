"""What the stacks need of their project: APIs, and rights of CI.

Resources that Terraform has yet to create have no policy, so CI's roles are granted on the project. What
exists before CI uses it (the bucket of states, the key, accounts of workloads, the image repository) is
granted on the resource itself, where it is created.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.environment import Environment, StackName

IAM_APIS: Final = ("cloudresourcemanager", "iam")


@dataclass(frozen=True)
class Needs:
    """What some resources need of the project.

    Attributes:
        apis: their APIs, without `.googleapis.com`.
        plan: roles with which CI reads them.
        plan_permissions: permissions that read them, where every predefined role would read their content,
        too.
        apply: roles with which CI creates, changes and deletes them.
        apply_permissions: permissions for that, where every predefined role would read their content, too.
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


def needs(environment: Environment) -> Iterator[Needs]:
    """What the stacks of an environment need."""
    for stack in environment.stacks:
        yield _STACKS[stack]
    if environment.ci:
        yield Needs(apis=["iamcredentials", "sts"])  # they exchange tokens
    if environment.cpu_caps or ("data" in environment.stacks and environment.data.query_gb_per_user):
        # Only a person may lift a cap.
        yield Needs(
            apis=["cloudquotas"], plan=["roles/cloudquotas.viewer"], apply=["roles/cloudquotas.viewer"]
        )
    if "data" in environment.stacks and environment.data.second_region:
        yield Needs(
            apis=["bigquerydatatransfer"],
            plan_permissions=["bigquery.transfers.get"],
            apply_permissions=["bigquery.transfers.get", "bigquery.transfers.update"],
        )
    if environment.trains_by_job:
        yield Needs(grants=["roles/bigquery.jobUser"])
    if environment.encrypted:
        yield Needs(apis=["cloudkms"])
    if "registry" in environment.stacks and environment.registry.scan:
        yield Needs(apis=["containerscanning"])
    if "cluster" in environment.stacks and environment.cluster:
        if environment.cluster.backup:
            yield Needs(apis=["gkebackup"], plan=["roles/gkebackup.viewer"], apply=["roles/gkebackup.admin"])
        if environment.cluster.binary_authorization:
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
    if "services" in environment.stacks and environment.gateway:
        yield Needs(
            apis=["certificatemanager"],
            plan=["roles/certificatemanager.viewer"],
            apply=["roles/certificatemanager.owner", "roles/compute.securityAdmin"],
        )
        if environment.gateway.iap_members:
            yield Needs(apis=["iap"], apply=["roles/iap.admin"])
    if "orchestration" in environment.stacks and environment.composer.deny_policy:
        # Only a person may change it, and the tag by which it knows Airflow's buckets; CI attaches the tag.
        # An organization's administrator lets CI see the policy: roles/iam.denyReviewer.
        yield Needs(plan=["roles/resourcemanager.tagViewer"], apply=["roles/resourcemanager.tagUser"])
    if "observability" in environment.stacks and environment.budget:
        yield Needs(
            apis=["billingbudgets"], plan_permissions=["serviceusage.services.use"]
        )  # calls are billed to the project
