"""The foundation of all stacks: APIs, the network, the encryption key, CI's identities, a cap on queries."""

from typing import Final

from infra.cdk import App, Construct
from infra.cdk.stack import PlatformStack
from infra.environment import Environment
from infra.google.attestor import Attestor
from infra.google.ci_identity import CiIdentity
from infra.google.key import Key
from infra.google.network import ANYWHERE, Network
from infra.google.project import ProjectSettings, enable_apis
from infra.google.quota import cap_cpus, cap_queries
from stacks.accounts import create_accounts
from stacks.ci import grant_rights
from stacks.needs import IAM_APIS, needs


class FoundationStack(PlatformStack):
    """APIs of all stacks of the environment, the network and, optionally, a key and the identities of CI."""

    def __init__(self, scope: App, environment: Environment):
        super().__init__(scope, "foundation", environment=environment)
        apis = enable_apis(
            Construct(self, "apis"), sorted({name for each in needs(environment) for name in each.apis})
        )
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
        self.deny_policy: Final = create_accounts(self, self.ci, after=iam)
        # Here, as CI may sign images, but not change whose signatures count.
        signing = ("binaryauthorization", "cloudkms", "containeranalysis") if environment.signs_images else ()
        attestor = (
            Attestor(self, "attestor", key=environment.signing_key, after=[apis[each] for each in signing])
            if signing
            else None
        )
        # Here, as nobody but a person may lift a cap.
        email = environment.alerting.email
        if "data" in environment.stacks and (cap := environment.data.query_gb_per_user):
            cap_queries(self, gigabytes=cap, email=email, after=[apis["cloudquotas"], apis["bigquery"]])
        for metric, most in environment.cpu_caps.items():
            cap_cpus(self, metric, most=most, email=email, after=[apis["cloudquotas"], apis["compute"]])
        if self.ci:
            grant_rights(self, self.ci, after=iam)
            if attestor:
                attestor.grant_sign(self.ci.apply)
                for account in (self.ci.plan, self.ci.apply):
                    attestor.grant_read_settings(account)
            if self.key:
                self.key.grant_read_settings(self.ci.plan)
                self.key.grant_administer(self.ci.apply)
