"""What accounts may not do, whatever their roles include."""

from collections.abc import Sequence
from typing import Final

from infra.cdk import Block, Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.google.identity import Account

# `roles/composer.worker` is made for environments whose cluster, images and queues are in the project. Those
# of Composer 3 are in a project of Google's, and what Airflow starts has accounts and grants of its own.
# https://cloud.google.com/iam/docs/deny-permissions-support
_DENIED: Final = (
    # Pods, Secrets and role bindings are no permissions that a rule may name. Nobody reaches them without
    # `clusters.connect`, since the control plane has a DNS name only.
    "container.googleapis.com/clusters.*",
    *(
        f"artifactregistry.googleapis.com/repositories.{each}"
        for each in ("create", "delete", "deleteArtifacts", "setIamPolicy", "update", "uploadArtifacts")
    ),
    "pubsub.googleapis.com/subscriptions.*",
    "pubsub.googleapis.com/topics.*",
)


class DenyPolicy(Construct):
    """Takes from Airflow's account what Google's role has in excess, and from CI's the values of secrets.

    It takes a project that belongs to an organization, and a person who is Deny Admin there.
    https://cloud.google.com/iam/docs/deny-overview

    Args:
        ci: account that applies, if CI does.

    Attributes:
        airflows: id of the tag of the buckets that stay open to Airflow.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        airflow: Account,
        ci: Account | None,
        after: Sequence[TerraformResource],
    ):
        super().__init__(scope, id_)
        project = place_of(self).project_id
        # Conditions of deny rules know tags of resources, not their names.
        key = google.tags_tag_key.TagsTagKey(
            self, "key", parent=f"projects/{project}", short_name="used-by", depends_on=[*after]
        )
        value = google.tags_tag_value.TagsTagValue(self, "value", parent=key.id, short_name="airflow")
        self.airflows: Final = value.id
        others = f"!resource.matchTag('{project}/used-by', 'airflow')"
        rules = [
            _rule("Airflow leaves the cluster, the images and the queues alone", airflow, _DENIED),
            _rule(
                "Airflow reaches the objects of its own buckets only",
                airflow,
                ["storage.googleapis.com/objects.*"],
                {"title": "Buckets of others", "expression": others},
            ),
        ]
        if ci:
            # It may set policies of secrets; a person adds and reads values.
            rules.append(_rule("CI reads no secret", ci, ["secretmanager.googleapis.com/versions.access"]))
        google.iam_deny_policy.IamDenyPolicy(
            self,
            "Default",
            name="workloads",
            parent=f"cloudresourcemanager.googleapis.com%2Fprojects%2F{project}",
            rules=rules,
            depends_on=[value],
        )


def _rule(
    description: str, account: Account, permissions: Sequence[str], condition: Block | None = None
) -> Block:
    return {
        "description": description,
        "deny_rule": {
            "denied_principals": [
                f"principal://iam.googleapis.com/projects/-/serviceAccounts/{account.email}"
            ],
            "denied_permissions": [*permissions],
            "denial_condition": condition,
        },
    }
