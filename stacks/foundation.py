"""The foundation of all stacks: enabled APIs, the network, the encryption key, the identities of CI."""

from collections.abc import Iterator
from typing import Final

from infra.cdk import App
from infra.cdk.stack import PlatformStack
from infra.environment import Environment, StackName
from infra.google.apis import Apis
from infra.google.ci_identity import CiIdentity
from infra.google.key import Key
from infra.google.network import Network
from infra.google.project import ProjectSettings
from stacks.ci import grant_rights

_IAM_APIS: Final = ("cloudresourcemanager", "iam")

_APIS: Final[dict[StackName, tuple[str, ...]]] = {
    "foundation": ("compute", *_IAM_APIS),
    "registry": ("artifactregistry",),
    "cluster": ("container", "containersecurity"),
    "data": ("bigquery", "bigquerystorage", "storage"),
    "messaging": ("pubsub",),
    "orchestration": ("composer", "dataflow", "secretmanager"),
    "services": (),
    "observability": ("monitoring",),
}


class FoundationStack(PlatformStack):
    """APIs of all stacks of the environment, the network and, optionally, a key and the identities of CI."""

    def __init__(self, scope: App, environment: Environment):
        super().__init__(scope, "foundation", environment=environment)
        apis = Apis(self, "apis", names=_apis(environment))
        iam = [apis.resources[api] for api in _IAM_APIS]
        ProjectSettings(self, "project", after=[apis.resources["compute"]])
        self.network: Final = Network(self, "network", after=apis.resources["compute"])
        self.key: Final = (
            Key(self, "key", after=apis.resources["cloudkms"]) if environment.encryption else None
        )
        self.ci: Final = CiIdentity(self, "ci", ci=environment.ci, after=iam) if environment.ci else None
        if self.ci:
            grant_rights(self, self.ci, after=iam)
            if self.key:
                self.key.grant_read_settings(self.ci.plan)
                self.key.grant_administer(self.ci.apply)


def _apis(environment: Environment) -> Iterator[str]:
    for stack in environment.stacks:
        yield from _APIS[stack]
    if environment.ci:
        yield from ("iamcredentials", "sts")  # they exchange tokens
    if environment.encryption:
        yield "cloudkms"
    if "registry" in environment.stacks and environment.registry.scan:
        yield "containerscanning"
    if "cluster" in environment.stacks and environment.cluster.binary_authorization:
        yield "binaryauthorization"
    if "cluster" in environment.stacks and environment.cluster.backup:
        yield "gkebackup"
    if "services" in environment.stacks and environment.gateway:
        yield "certificatemanager"
        if environment.gateway.iap_members:
            yield "iap"
    if "observability" in environment.stacks and environment.budget:
        yield "billingbudgets"
