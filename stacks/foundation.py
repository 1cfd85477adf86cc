"""The foundation of all stacks: APIs, the network, the encryption key, identities, caps on what is used.

Only a person changes accounts of workloads outside the cluster, their roles on the project, and who may act
as them: CI, which applies the other stacks, may neither create an account nor set the policy of one, or it
could act as any account of the project; and it may not grant what these accounts have on the project, or it
could grant it to itself.
"""

from collections.abc import Sequence
from typing import Final

from infra.cdk import App, Construct, TerraformResource
from infra.cdk.stack import PlatformStack
from infra.cdk.waivers import waive
from infra.environment import Environment
from infra.google.binary_authorization import Attestor
from infra.google.ci_identity import CiIdentity
from infra.google.dataset_copy import grant_copies
from infra.google.deny_policy import DenyPolicy
from infra.google.identity import NewAccount, Principal, ServiceAgent
from infra.google.key import Key
from infra.google.network import ANYWHERE, Network
from infra.google.project import ProjectSettings, cap_cpus, cap_queries, enable_apis
from stacks.needs import IAM_APIS, grant_rights, needs


class FoundationStack(PlatformStack):
    """APIs of all stacks of the environment, the network and, optionally, a key and the identities of CI.

    Attributes:
        deny_policy: what Airflow's account may not do; None without such a policy.
    """

    def __init__(self, scope: App, environment: Environment):
        super().__init__(scope, "foundation", environment=environment)
        apis = enable_apis(Construct(self, "apis"), needs(environment).apis)
        iam = [apis[api] for api in IAM_APIS]
        ProjectSettings(
            self,
            "project",
            keep_audit_logs_days=environment.data.keep_audit_logs_days,
            after=[apis["compute"], apis["logging"]],
        )
        self.network: Final = Network(
            self,
            "network",
            ranges=environment.existing.network or environment.addresses,
            after=[apis["compute"], apis["dns"]],
        )
        # In a cluster of somebody else, too, the names have addresses that nobody here knows.
        self.google_apis: Final = ANYWHERE if environment.existing.cluster else self.network.google_apis
        self.key: Final = (
            Key(self, "key", existing=environment.existing.key, after=apis["cloudkms"])
            if environment.encrypted
            else None
        )
        self.ci: Final = CiIdentity(self, "ci", after=iam, **dict(environment.ci)) if environment.ci else None
        self.deny_policy: Final = self._create_accounts(iam)
        # Here, as nobody but a person may lift a cap.
        email = environment.alerting.email
        if "data" in environment.stacks and (cap := environment.data.query_gb_per_user):
            cap_queries(self, gigabytes=cap, email=email, after=[apis["cloudquotas"], apis["bigquery"]])
        for metric, most in environment.cpu_caps.items():
            cap_cpus(self, metric, most=most, email=email, after=[apis["cloudquotas"], apis["compute"]])
        if self.ci:
            grant_rights(self, self.ci, after=iam)
            if self.key:
                self.key.grant_read_settings(self.ci.plan)
                self.key.grant_administer(self.ci.apply)
        if environment.signs_images:
            # Here, as CI may sign images, but not change whose signatures count.
            used = [apis[each] for each in ("binaryauthorization", "cloudkms", "containeranalysis")]
            attestor = Attestor(self, "attestor", key=environment.signing_key, after=used)
            if self.ci:
                attestor.grant_sign(self.ci.apply)
                for account in (self.ci.plan, self.ci.apply):
                    attestor.grant_read_settings(account)

    def _create_accounts(self, after: Sequence[TerraformResource]) -> DenyPolicy | None:
        """Create the accounts that the stacks of the environment need. Returns what Airflow's may not do."""
        environment = self.environment
        deployers = [self.ci.apply] if self.ci else []  # what CI deploys may run as some of them

        def create(id_: str, description: str, *users: Principal) -> NewAccount:
            account = NewAccount(self, id_, description=description, after=after)
            for user in users:
                account.grant_attach(user)
            return account

        if environment.cluster and "cluster" in environment.stacks:
            nodes = create("nodes", "Nodes of the cluster", *deployers)
            # Logs and metrics belong to the project, so there is no smaller resource to grant this on.
            nodes.grant_project_role("roles/container.defaultNodeServiceAccount")
        if "messaging" in environment.stacks and environment.streaming.delivery == "push":
            push = create("push", "Pub/Sub, when it pushes requests to the streaming service", *deployers)
            push.grant_sign_in_as(ServiceAgent(self, "pubsub", service="gcp-sa-pubsub"))
        if "data" in environment.stacks and environment.data.second_region:
            grant_copies(
                self, create("copies", "Copies of tables in the second region", *deployers), after=after
            )
        if "orchestration" not in environment.stacks:
            return None
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
        if not environment.composer.deny_policy:
            return None
        ci = self.ci.apply if self.ci else None
        return DenyPolicy(self, "deny-policy", airflow=airflow, ci=ci, after=after)
