"""Accounts of workloads outside the cluster, and who may act as them.

`foundation` makes them, and only a person changes them: CI, which applies the other stacks, may neither
create an account nor set the policy of one, or it could act as any account of the project.
"""

from collections.abc import Sequence

from infra.cdk import TerraformResource
from infra.cdk.stack import PlatformStack
from infra.google.ci_identity import CiIdentity
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
        create("nodes", "Nodes of the cluster", *deployers)
    if "messaging" in environment.stacks and environment.streaming.delivery == "push":
        push = create("push", "Pub/Sub, when it pushes requests to the streaming service", *deployers)
        push.grant_sign_in_as(ServiceAgent(scope, "pubsub", service="gcp-sa-pubsub"))
    if "orchestration" in environment.stacks:
        airflow = create("airflow", "Workers of the Airflow environment", *deployers)
        create("dataflow", "Workers of Dataflow", airflow)
        # Airflow's own account does not reach the cluster, where its role could do everything.
        create("starter", "Starts the pods of Airflow's steps").grant_sign_in_as(airflow)
        if environment.composer.deny_policy:
            return DenyPolicy(scope, "deny-policy", airflow=airflow, after=after)
    return None
