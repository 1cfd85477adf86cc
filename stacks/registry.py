"""The repository of container images."""

from typing import Final

from infra.cdk import App
from infra.cdk.stack import PlatformStack
from infra.environment import Environment
from infra.google.artifact_registry import ImageRepository
from infra.google.ci_identity import CiIdentity
from infra.google.identity import Principal, ServiceAgent
from infra.google.key import Key


class RegistryStack(PlatformStack):
    """One repository for the images of all services. Only CI pushes."""

    def __init__(
        self,
        scope: App,
        environment: Environment,
        *,
        key: Key | None,
        ci: CiIdentity | None,
    ):
        super().__init__(scope, "registry", environment=environment)
        agent = ServiceAgent(self, "agent", environment=environment, service="gcp-sa-artifactregistry")
        self.images: Final = ImageRepository(
            self,
            "images",
            environment=environment,
            key=key,
            may_use_key=[key.grant_use(agent)] if key else [],
        )
        if ci:
            self.images.grant_write(Principal(self, "ci", member=ci.apply.member))
