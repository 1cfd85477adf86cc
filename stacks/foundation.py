"""What everything else stands on: switched-on APIs and the network."""

from pathlib import Path
from typing import Final

from infra.apis import Apis
from infra.environment import Environment, StackName
from infra.network import Network
from infra.providers import App
from infra.stack import PLATFORM, PlatformStack

_APIS: Final[dict[StackName, tuple[str, ...]]] = {
    "foundation": ("compute", "iam"),
    "registry": ("artifactregistry",),
    "cluster": ("container",),
    "data": ("bigquery", "bigquerystorage", "storage"),
    "messaging": ("pubsub",),
    "orchestration": ("composer",),
    "services": (),
    "observability": ("monitoring",),
}


class FoundationStack(PlatformStack):
    """APIs that the environment's stacks call, and its network."""

    def __init__(self, scope: App, environment: Environment, simulator_home: Path):
        super().__init__(scope, "foundation", environment=environment, simulator_home=simulator_home)
        apis = Apis(self, "apis", names=[api for stack in environment.stacks for api in _APIS[stack]])
        self.network: Final = Network(
            self,
            "network",
            name=PLATFORM,
            project=environment.project_id,
            region=environment.region,
            addresses=environment.addresses,
            after=apis.resources["compute"],
        )
