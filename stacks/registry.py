"""The repository of container images."""

from typing import Final

from infra.cdk import App
from infra.cdk.stack import PlatformStack
from infra.google.artifact_registry import ImageRepository
from infra.google.identity import ServiceAgent, propagated
from stacks.foundation import FoundationStack


class RegistryStack(PlatformStack):
    """One repository for all images. CI pushes what reaches main; people push while they develop."""

    def __init__(self, scope: App, foundation: FoundationStack):
        super().__init__(scope, "registry", environment=foundation.environment)
        key = foundation.key
        agent = ServiceAgent(self, "agent", service="gcp-sa-artifactregistry")
        grants = key.grant_use(agent) if key else ()
        self.images: Final = ImageRepository(
            self,
            "images",
            **dict(self.environment.registry),
            key=key,
            may_use_key=[propagated(self, grants)] if grants else [],
        )
