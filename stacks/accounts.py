"""Accounts of workloads outside the cluster, their roles on the project, and who may act as them.

`foundation` makes them, and only a person changes them: CI, which applies the other stacks, may neither
create an account nor set the policy of one, or it could act as any account of the project; and it may not
grant what these accounts have on the project, or it could grant it to itself.
"""

from collections.abc import Sequence

from infra.cdk import TerraformResource
from infra.cdk.stack import PlatformStack
from infra.cdk.waivers import waive
from infra.google.ci_identity import CiIdentity
from infra.google.dataset_copy import grant_copies
from infra.google.deny_policy import DenyPolicy
from infra.google.identity import NewAccount, Principal, ServiceAgent


def create_accounts(
    scope: PlatformStack, ci: CiIdentity | None, after: Sequence[TerraformResource]
) -> DenyPolicy | None:
    """Create the accounts that the stacks of the environment need. Returns what Airflow's may not do.

    Args:
        scope: the stack.
        ci: the identities of CI; what it deploys may run as these accounts.
        after: resources that must exist first.
    """
    environment = scope.environment

    def create(id_: str, description: str, *users: Principal) -> NewAccount:
        account = NewAccount(scope, id_, description=description, after=after)
        for user in users:
            account.grant_attach(user)
        return account

    deployers = [ci.apply] if ci else []
    if environment.cluster and "cluster" in environment.stacks:
        nodes = create("nodes", "Nodes of the cluster", *deployers)
        # Logs and metrics belong to the project, so there is no smaller resource to grant this on.
        nodes.grant_project_role("roles/container.defaultNodeServiceAccount")
    if "messaging" in environment.stacks and environment.streaming.delivery == "push":
        push = create("push", "Pub/Sub, when it pushes requests to the streaming service", *deployers)
        push.grant_sign_in_as(ServiceAgent(scope, "pubsub", service="gcp-sa-pubsub"))
    if "data" in environment.stacks and environment.data.second_region:
        copies = create("copies", "Copies of tables in the second region", *deployers)
        grant_copies(scope, copies, after=after)
    if "orchestration" in environment.stacks:
        airflow = create("airflow", "Workers of the Airflow environment", *deployers)
        # Composer takes up to 25 minutes to be created, and fails at the end if the account lacks its role.
        for role in ("roles/composer.worker", "roles/dataflow.developer"):
            waive(
                airflow.grant_project_role(role), {"CKV_GCP_49": "Google offers this role on projects only"}
            )
        workers = create("dataflow", "Workers of Dataflow", airflow)
        workers.grant_project_role(
            "roles/dataflow.worker",
            condition={
                "title": "no objects",  # of any bucket of the project; grants name those it uses
                "expression": 'resource.type != "storage.googleapis.com/Object"',
            },
        )
        # Airflow's own account does not reach the cluster, where its role could do everything.
        starter = create("starter", "Starts the pods of Airflow's steps")
        starter.grant_sign_in_as(airflow)
        # The smallest role that may connect by the cluster's DNS name (container.clusters.connect). It reads
        # no Secrets; what the account may change in the cluster is defined by the role in the namespace.
        starter.grant_project_role("roles/container.viewer")
        if environment.composer.deny_policy:
            return DenyPolicy(scope, "deny-policy", airflow=airflow, ci=ci.apply if ci else None, after=after)
    return None
