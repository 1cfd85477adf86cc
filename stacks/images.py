"""Container images by digest: a tag may move, and a moved tag does not roll anything out."""

from infra.cdk import TerraformVariable
from infra.cdk.stack import PlatformStack
from infra.google.images import ROOT, source_digest


def image(stack: PlatformStack, service: str) -> str:
    """The image of a service, `<repository>/<service>@sha256:...`.

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
    variable = TerraformVariable(
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
    )
    return variable.string_value
