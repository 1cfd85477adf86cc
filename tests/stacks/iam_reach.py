"""What each account can change, permission by permission, beyond what somebody declared it needs.

A role on one resource changes that one, which is its purpose. A role on the project changes every resource of
its types, whatever it was granted for: what that is, less what the deny policy takes away, must be declared.
"""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from tests.stacks.iam_closure import grants
from tests.stacks.iam_graph import Graph, Permission

_OBJECTS: Final = tuple(f"storage.objects.{each}" for each in ("create", "delete", "get", "update"))
_TABLES: Final = tuple(f"bigquery.tables.{each}" for each in ("create", "delete", "getData", "updateData"))

# https://cloud.google.com/iam/docs/roles-permissions, of August 2026: of each role the permissions that
# change resources of the types that stacks have, or read their content. Roles that see settings have none.
PERMISSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "roles/artifactregistry.admin": ("artifactregistry.repositories.*",),
    "roles/artifactregistry.reader": ("artifactregistry.repositories.downloadArtifacts",),
    "roles/artifactregistry.writer": (
        "artifactregistry.repositories.downloadArtifacts",
        "artifactregistry.repositories.uploadArtifacts",
    ),
    "roles/bigquery.dataEditor": _TABLES,
    "roles/bigquery.dataOwner": ("bigquery.datasets.*", "bigquery.tables.*"),
    "roles/bigquery.dataViewer": ("bigquery.tables.getData",),
    "roles/bigquery.jobUser": ("bigquery.jobs.create",),
    "roles/bigquery.metadataViewer": (),
    "roles/binaryauthorization.attestorsViewer": (),
    "roles/binaryauthorization.policyEditor": ("binaryauthorization.policy.update",),
    "roles/binaryauthorization.policyViewer": (),
    "roles/certificatemanager.owner": ("certificatemanager.*",),
    "roles/certificatemanager.viewer": (),
    "roles/cloudkms.admin": ("cloudkms.cryptoKeys.*", "cloudkms.cryptoKeyVersions.*"),
    "roles/cloudkms.cryptoKeyEncrypterDecrypter": (
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        "cloudkms.cryptoKeyVersions.useToEncrypt",
    ),
    "roles/cloudkms.signerVerifier": ("cloudkms.cryptoKeyVersions.useToSign",),
    "roles/cloudkms.viewer": (),
    "roles/cloudquotas.viewer": (),
    "roles/composer.admin": ("composer.*",),
    "roles/composer.worker": (
        *(
            f"artifactregistry.repositories.{each}"
            for each in (
                "create",
                "delete",
                "deleteArtifacts",
                "downloadArtifacts",
                "setIamPolicy",
                "update",
                "uploadArtifacts",
            )
        ),
        "container.clusterRoleBindings.create",
        "container.clusters.connect",
        "container.clusters.delete",
        "container.clusters.update",
        "container.deployments.update",
        "container.pods.create",
        "container.pods.exec",
        "container.secrets.get",
        "containeranalysis.occurrences.create",
        "pubsub.subscriptions.consume",
        "pubsub.subscriptions.delete",
        "pubsub.topics.delete",
        "pubsub.topics.publish",
        *_OBJECTS,
    ),
    "roles/compute.networkAdmin": ("compute.networks.*", "compute.subnetworks.*", "compute.routers.*"),
    "roles/compute.securityAdmin": ("compute.firewalls.*", "compute.securityPolicies.*"),
    "roles/compute.viewer": (),
    "roles/container.admin": ("container.*",),
    "roles/container.defaultNodeServiceAccount": (),
    "roles/container.viewer": ("container.clusters.connect",),
    "roles/containeranalysis.notes.attacher": ("containeranalysis.notes.attachOccurrence",),
    "roles/containeranalysis.notes.viewer": (),
    "roles/containeranalysis.occurrences.editor": ("containeranalysis.occurrences.create",),
    "roles/dataflow.developer": ("dataflow.jobs.create",),
    "roles/dataflow.worker": ("dataflow.workItems.update", "storage.objects.create", "storage.objects.get"),
    "roles/gkebackup.admin": ("gkebackup.*",),
    "roles/gkebackup.viewer": (),
    "roles/iam.roleViewer": (),
    "roles/iam.securityReviewer": (),
    "roles/iam.serviceAccountAdmin": ("iam.serviceAccounts.create", "iam.serviceAccounts.setIamPolicy"),
    "roles/iam.serviceAccountTokenCreator": ("iam.serviceAccounts.getAccessToken",),
    "roles/iam.serviceAccountUser": ("iam.serviceAccounts.actAs",),
    "roles/iam.serviceAccountViewer": (),
    "roles/iam.workloadIdentityPoolViewer": (),
    "roles/dns.admin": ("dns.managedZones.*", "dns.resourceRecordSets.*"),
    "roles/dns.reader": (),
    "roles/iam.workloadIdentityUser": ("iam.serviceAccounts.getAccessToken",),
    "roles/iap.admin": ("iap.*",),
    "roles/iap.httpsResourceAccessor": (),
    "roles/logging.configWriter": ("logging.buckets.*", "logging.logMetrics.*", "logging.sinks.*"),
    "roles/monitoring.editor": ("monitoring.*",),
    "roles/monitoring.viewer": (),
    "roles/pubsub.admin": ("pubsub.*",),
    "roles/pubsub.publisher": ("pubsub.topics.publish",),
    "roles/pubsub.subscriber": ("pubsub.subscriptions.consume",),
    "roles/pubsub.viewer": (),
    "roles/resourcemanager.tagViewer": (),
    "roles/resourcemanager.projectIamAdmin": ("resourcemanager.projects.setIamPolicy",),
    "roles/secretmanager.admin": ("secretmanager.secrets.*", "secretmanager.versions.*"),
    "roles/secretmanager.secretAccessor": ("secretmanager.versions.access",),
    "roles/secretmanager.viewer": (),
    "roles/serviceusage.serviceUsageAdmin": ("serviceusage.services.*",),
    "roles/serviceusage.serviceUsageViewer": (),
    "roles/storage.admin": ("storage.buckets.*", "storage.objects.*"),
    "roles/storage.objectUser": _OBJECTS,
    "roles/storage.objectViewer": ("storage.objects.get",),
}

_OTHER_BUCKETS: Final = "other buckets than the states'; deny rules know tags only"
DECLARED: Final[Mapping[tuple[str, str], str]] = {
    ("*", "bigquery.jobs.create"): "jobs belong to the project; they read and write what their tables grant",
    ("airflow", "artifactregistry.repositories.downloadArtifacts"): "images hold no secrets",
    ("airflow", "container.clusters.connect"): "reaches the cluster to start pods in",
    ("airflow", "dataflow.jobs.create"): "starts jobs",
    ("dataflow", "dataflow.workItems.update"): "works",
    **{("airflow", each): f"pods that it starts write them anyway: {_OTHER_BUCKETS}" for each in _OBJECTS},
    ("dataflow", "storage.objects.create"): f"adds objects to {_OTHER_BUCKETS}",
    ("dataflow", "storage.objects.get"): f"reads {_OTHER_BUCKETS}",
}
"""Account (a pattern) and permission on the project to the reason why it may stay."""


class Reach(NamedTuple):
    """A permission that a member has on a resource, or on all of the project's."""

    member: str
    permission: str
    kind: str
    name: str


def reach(graph: Graph) -> Iterator[Reach]:
    """What everybody can change, deny rules considered.

    Raises:
        KeyError: `PERMISSIONS` lacks a role.
    """
    custom = {
        f"projects/{graph.environment.project_id}/roles/{each['role_id']}": each["permissions"]
        for each in graph.all("google_project_iam_custom_role")
    }
    for grant in grants(graph):
        permissions = custom.get(grant.role) or PERMISSIONS[grant.role]
        for permission in permissions:
            if permission.endswith(".get") and grant.role in custom:
                continue  # CI's plan sees settings
            if not any(_denies(rule, grant, permission) for rule in _rules(graph)):
                yield Reach(grant.member, permission, grant.kind, grant.name)


def states(graph: Graph) -> set[str]:
    """Members that can read or write the objects in the bucket of Terraform's states."""
    bucket = graph.environment.state_bucket
    closed = {
        principal
        for rule in _rules(graph)
        if "denial_condition" in rule and "storage.googleapis.com/objects.*" in rule["denied_permissions"]
        for principal in rule["denied_principals"]
        if _tagged(graph, bucket, rule["denial_condition"]["expression"])
    }
    return {
        each.member
        for each in reach(graph)
        if each.permission.startswith("storage.objects")
        and (each.kind == "project" or each.name == bucket)
        and _principal(each.member) not in closed
    }


def excess(graph: Graph) -> list[str]:
    """What members but CI's can change in the whole project, without a declared reason."""
    found: list[str] = []
    for each in reach(graph):
        who = short(each.member)
        declared = any(
            fnmatchcase(who, account) and each.permission == permission for account, permission in DECLARED
        )
        if each.kind == "project" and not who.startswith("ci-") and not declared:
            found.append(f"{who}: {each.permission}")
    return sorted(found)


def short(member: str) -> str:
    """An account by its short name, such as `airflow`; pods by their service account."""
    name = member.rpartition("/")[2].partition(":")[2] or member.rpartition("/")[2]
    return name.partition("@")[0].removeprefix("sales-forecast-")


def _rules(graph: Graph) -> Iterator[Mapping[str, Any]]:
    for policy in graph.all("google_iam_deny_policy"):
        yield from (each["deny_rule"] for each in policy["rules"])


def _denies(rule: Mapping[str, Any], grant: Permission, permission: str) -> bool:
    """Whether a rule without a condition takes a permission from the member of a grant."""
    service, _, rest = permission.partition(".")
    full = f"{service}.googleapis.com/{rest}"
    principals, denied, kept = (
        rule.get(f"{each}") or []
        for each in ("denied_principals", "denied_permissions", "exception_permissions")
    )
    return (
        "denial_condition" not in rule
        and _principal(grant.member) in principals
        and any(fnmatchcase(full, each) for each in denied)
        and full not in kept
    )


def _principal(member: str) -> str:
    email = member.removeprefix("serviceAccount:")
    return f"principal://iam.googleapis.com/projects/-/serviceAccounts/{email}"


def _tagged(graph: Graph, bucket: str, expression: str) -> bool:
    """Whether a bucket has the tag that a condition asks for."""
    (value,) = graph.values("google_tags_tag_value", "short_name")
    (key,) = graph.values("google_tags_tag_key", "short_name")
    asked = re.fullmatch(r"resource\.matchTag\('([^']+)', '([^']+)'\)", expression)
    bound = {each.rpartition("/")[2] for each in graph.values("google_tags_location_tag_binding", "parent")}
    return (
        bool(asked) and asked.groups() == (f"{graph.environment.project_id}/{key}", value) and bucket in bound
    )
