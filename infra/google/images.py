"""Container images, always by digest: a tag may move, and a moved tag rolls nothing out."""

from infra.cdk import TerraformStack, TerraformVariable, TerraformVariableValidationConfig
from infra.environment import Environment, ImageName
from infra.google.image_sources import ROOT, source_digest


def image(stack: TerraformStack, environment: Environment, *, service: ImageName) -> str:
    """The image of a service, `<repository>/<service>@sha256:...`.

    In a simulated cloud the digest is that of the sources, so that a change of code rolls out as it would
    with an image. In a real one it is what `<environment>.images.json` says was pushed. While that says
    nothing the stack cannot be planned, and its plan says which command to run: the others, which have to be
    deployed before there is a registry to push to, can.
    """
    if environment.simulated:
        digest = source_digest(ROOT, service)
    else:
        digest = environment.images.get(service) or _asked_for(stack, environment, service)
    return f"{environment.image_repository}/{service}@{digest}"


def _asked_for(stack: TerraformStack, environment: Environment, service: str) -> str:
    """A Terraform variable that refuses to have no value, which is the only error a single stack can have."""
    remedy = f"scripts/push_image.sh {service} {environment.name}"
    name = f"{service}_digest"
    variable = TerraformVariable(
        stack,
        name,
        type="string",
        default="",
        description=f"Digest (sha256:...) of the {service} image. `{remedy}` pushes one and writes it down.",
        validation=[
            TerraformVariableValidationConfig(
                condition=f'${{can(regex("^sha256:[0-9a-f]{{64}}$", var.{name}))}}',
                error_message=f"{environment.name} has no image of {service} yet: run {remedy}.",
            )
        ],
    )
    return variable.string_value
