"""What accounts may not do, whatever their roles include."""

from collections.abc import Sequence
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import environment_of
from infra.google.identity import Account

deny = google.iam_deny_policy

_TAG: Final = "holds"
_STATES: Final = "terraform-states"

# `roles/composer.worker` is made for environments whose cluster, images and queues are in the project. Those
# of Composer 3 are in a project of Google's, and what Airflow starts has accounts and grants of its own.
_AIRFLOW: Final = (
    # exec into pods, read Secrets, bind cluster roles, delete clusters. GKE asks its own roles first, so
    # Airflow still starts pods in the namespace that lets it.
    "container.googleapis.com/*.*",
    "artifactregistry.googleapis.com/repositories.create",
    "artifactregistry.googleapis.com/repositories.delete",
    "artifactregistry.googleapis.com/repositories.deleteArtifacts",
    "artifactregistry.googleapis.com/repositories.setIamPolicy",
    "artifactregistry.googleapis.com/repositories.update",
    "artifactregistry.googleapis.com/repositories.uploadArtifacts",
    "containeranalysis.googleapis.com/occurrences.create",
    "pubsub.googleapis.com/*.*",
)
# The cluster's address, and the way there.
_AIRFLOW_KEEPS: Final = tuple(
    f"container.googleapis.com/clusters.{verb}" for verb in ("connect", "get", "getCredentials", "list")
)
# `roles/dataflow.worker` reads the objects of every bucket of the project and adds some; Airflow's role
# deletes them, too.
_STATE_OBJECTS: Final = ("storage.googleapis.com/objects.*",)


class DenyPolicy(Construct):
    """Takes from Airflow's and Dataflow's accounts what the roles that Google requires include in excess.

    It takes a project that belongs to an organization, and a person who is Deny Admin there.
    https://cloud.google.com/iam/docs/deny-overview

    Args:
        airflow: account of Airflow.
        dataflow: account of Dataflow's workers.
        after: resources that must exist first.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        airflow: Account,
        dataflow: Account,
        after: Sequence[TerraformResource],
    ):
        super().__init__(scope, id_)
        environment = environment_of(self)
        project = environment.project_id
        # Conditions of deny rules know tags of resources, not their names.
        key = google.tags_tag_key.TagsTagKey(
            self, "key", parent=f"projects/{project}", short_name=_TAG, depends_on=[*after]
        )
        value = google.tags_tag_value.TagsTagValue(self, "value", parent=key.id, short_name=_STATES)
        bucket = google.tags_location_tag_binding.TagsLocationTagBinding(
            self,
            "bucket",
            parent=f"//storage.googleapis.com/projects/_/buckets/{environment.state_bucket}",
            location=environment.region,
            tag_value=value.id,
        )
        deny.IamDenyPolicy(
            self,
            "Default",
            name="workloads",
            parent=f"cloudresourcemanager.googleapis.com%2Fprojects%2F{project}",
            rules=[
                _rule(
                    "Airflow leaves the cluster, the images and the queues alone",
                    [airflow],
                    permissions=_AIRFLOW,
                    keeps=_AIRFLOW_KEEPS,
                ),
                _rule(
                    "No workload reads or writes Terraform's states",
                    [airflow, dataflow],
                    permissions=_STATE_OBJECTS,
                    condition=deny.IamDenyPolicyRulesDenyRuleDenialCondition(
                        title="Terraform's states",
                        expression=f"resource.matchTag('{project}/{_TAG}', '{_STATES}')",
                    ),
                ),
            ],
            depends_on=[bucket],
        )


def _rule(
    description: str,
    accounts: Sequence[Account],
    *,
    permissions: Sequence[str],
    keeps: Sequence[str] = (),
    condition: deny.IamDenyPolicyRulesDenyRuleDenialCondition | None = None,
) -> deny.IamDenyPolicyRules:
    return deny.IamDenyPolicyRules(
        description=description,
        deny_rule=deny.IamDenyPolicyRulesDenyRule(
            denied_principals=[
                f"principal://iam.googleapis.com/projects/-/serviceAccounts/{each.email}" for each in accounts
            ],
            denied_permissions=[*permissions],
            exception_permissions=[*keeps] or None,
            denial_condition=condition,
        ),
    )
