"""What each account can change, permission by permission, beyond what somebody declared it needs.

A role on one resource changes that one, which is its purpose. A role on the project changes every resource of
its types, whatever it was granted for: what that is, less what the deny policy takes away, must be declared.
"""

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
    "roles/logging.configWriter": (
        "logging.buckets.*",
        "logging.exclusions.*",
        "logging.logMetrics.*",
        "logging.sinks.*",
    ),
    "roles/monitoring.editor": ("monitoring.*",),
    "roles/monitoring.viewer": (),
    "roles/pubsub.admin": ("pubsub.*",),
    "roles/pubsub.publisher": ("pubsub.topics.publish",),
    "roles/pubsub.subscriber": ("pubsub.subscriptions.consume",),
    "roles/pubsub.viewer": (),
    "roles/resourcemanager.tagUser": ("storage.buckets.createTagBinding",),
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

DECLARED: Final[Mapping[tuple[str, str], str]] = {
    ("*", "bigquery.jobs.create"): "jobs belong to the project; they read and write what their tables grant",
    ("airflow", "artifactregistry.repositories.downloadArtifacts"): "images hold no secrets",
    ("airflow", "containeranalysis.occurrences.create"): "a signature takes the note and the key, too",
    ("airflow", "dataflow.jobs.create"): "starts jobs",
    ("copies", "bigquery.transfers.update"): "starts copies, which are all transfers that there are",
    ("dataflow", "dataflow.workItems.update"): "works",
    ("starter", "container.clusters.connect"): "reaches the cluster to start pods in",
}
"""Account (a pattern) and permission on the project to the reason why it may stay."""


class Reach(NamedTuple):
    """A permission that a member has on a resource, or on all of the project's."""

    member: str
    permission: str
    kind: str
    name: str


def reach(graph: Graph) -> Iterator[Reach]:
    """What everybody can change, deny rules and conditions considered.

    A permission on objects of the whole project that is left for some buckets is one on each of these.

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
            rules = [rule for rule in _rules(graph) if _denies(rule, grant, permission)]
            if any("denial_condition" not in rule for rule in rules) or _excluded(graph, grant, permission):
                continue
            if rules:
                for bucket in set.intersection(*(_tagged(graph, rule) for rule in rules)):
                    if grant.kind == "project" or grant.name == bucket:
                        yield Reach(grant.member, permission, "bucket", bucket)
            else:
                yield Reach(grant.member, permission, grant.kind, grant.name)


def users(graph: Graph) -> dict[str, set[str]]:
    """Of each bucket, who can read or write its objects."""
    buckets = [*graph.values("google_storage_bucket", "name"), graph.environment.state_bucket]
    able = [each for each in reach(graph) if each.permission.startswith("storage.objects.")]
    everywhere = {short(each.member) for each in able if each.kind == "project"}
    return {
        bucket: everywhere | {short(each.member) for each in able if each.name == bucket}
        for bucket in buckets
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
    """Whether a rule takes a permission from the member of a grant, wherever its condition holds."""
    service, _, rest = permission.partition(".")
    if service == "container" and not rest.startswith("clusters."):
        rest = "clusters.connect"  # without which nobody reaches what is in the cluster
    full = f"{service}.googleapis.com/{rest}"
    return _principal(grant.member) in rule["denied_principals"] and any(
        fnmatchcase(full, each) for each in rule["denied_permissions"]
    )


def _excluded(graph: Graph, grant: Permission, permission: str) -> bool:
    """Whether the condition of a grant on the project leaves a permission out."""
    no_objects = 'resource.type != "storage.googleapis.com/Object"'
    return permission.startswith("storage.objects.") and any(
        each.get("condition", {}).get("expression") == no_objects
        for each in graph.all("google_project_iam_member")
        if (each["member"], each["role"]) == (grant.member, grant.role)
    )


def _principal(member: str) -> str:
    email = member.removeprefix("serviceAccount:")
    return f"principal://iam.googleapis.com/projects/-/serviceAccounts/{email}"


def _tagged(graph: Graph, rule: Mapping[str, Any]) -> set[str]:
    """The buckets that a rule spares, which have the tag that its condition names."""
    (value,) = graph.values("google_tags_tag_value", "short_name")
    (key,) = graph.values("google_tags_tag_key", "short_name")
    spared = f"!resource.matchTag('{graph.environment.project_id}/{key}', '{value}')"
    assert rule["denial_condition"]["expression"] == spared
    return {each.rpartition("/")[2] for each in graph.values("google_tags_location_tag_binding", "parent")}
