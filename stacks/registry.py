"""The repository of container images, and the digests by which stacks name them."""

from typing import Final

from infra.cdk import App, cdktf
from infra.cdk.stack import PlatformStack
from infra.google.artifact_registry import ImageRepository
from infra.google.identity import ServiceAgent, propagated
from infra.google.images import ROOT, source_digest
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


def image(stack: PlatformStack, service: str) -> str:
    """The image of a service, `<repository>/<service>@sha256:...`: a moved tag would not roll anything out.

    In a simulated cloud the digest is that of the sources, so that a change of code rolls out as it would
    with an image. In a real one it is the digest of the pushed image in `<environment>.images.json`. Without
    one the plan of this stack fails and says which command to run; other stacks, which must be deployed
    before there is a registry to push to, can be planned.
    """
    environment = stack.environment
    if environment.simulated:
        digest = source_digest(ROOT, service)
    else:
        digest = environment.images.get(service) or _required_variable(stack, service)
    return f"{environment.image_repository}/{service}@{digest}"


def _required_variable(stack: PlatformStack, service: str) -> str:
    """A Terraform variable without a valid default: an error that only the plan of its stack reports."""
    environment = stack.environment.name
    remedy = f"scripts/push_image.sh {service} {environment}"
    name = f"{service}_digest"
    return cdktf.TerraformVariable(
        stack,
        name,
        type="string",
        default="",
        description=f"Digest (sha256:...) of the {service} image. `{remedy}` pushes one and writes it down.",
        validation=[
            {
                "condition": f'${{can(regex("^sha256:[0-9a-f]{{64}}$", var.{name}))}}',
                "error_message": f"{environment} has no image of {service} yet: run {remedy}.",
            }
        ],
    ).string_value
