"""Container images, always by digest: a tag may move, and a moved tag rolls nothing out."""

import hashlib
from pathlib import Path
from typing import Final

from infra.environment import Environment, ServiceName
from infra.providers import (
    TerraformStack,
    TerraformVariable,
    TerraformVariableValidationConfig,
)

_ROOT: Final = Path(__file__).resolve().parents[1]


def image(stack: TerraformStack, environment: Environment, *, service: ServiceName, repository: str) -> str:
    """The image of a service, `<repository>/<service>@sha256:...`.

    In a simulated cloud the digest is that of the sources, so that a change of code rolls out as it would
    with an image. In a real one it is what `<environment>.images.json` says was pushed; while that says
    nothing, it is a Terraform variable of the stack, which has to be given at plan.
    """
    if environment.simulated:
        digest = source_digest(_ROOT, service)
    else:
        digest = environment.images.get(service) or _asked_for(stack, environment, service)
    return f"{repository}/{service}@{digest}"


def source_digest(root: Path, service: str) -> str:
    """SHA-256 over everything of a repository that the image of a service is made of."""
    folders = [root / "services" / name for name in (service, "contracts", "forecasting")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    files = [file for file in files if file.parent.name != "__pycache__"]
    files += [*(root / "services").glob("*.py"), root / "requirements" / f"{service}.lock"]
    digest = hashlib.sha256()
    for file in sorted(files):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _asked_for(stack: TerraformStack, environment: Environment, service: str) -> str:
    remedy = f"scripts/push_image.sh {service} {environment.name}"
    name = f"{service}_digest"
    variable = TerraformVariable(
        stack,
        name,
        type="string",
        description=f"Digest (sha256:...) of the {service} image. `{remedy}` pushes one and writes it down.",
        validation=[
            TerraformVariableValidationConfig(
                condition=f'${{can(regex("^sha256:[0-9a-f]{{64}}$", var.{name}))}}',
                error_message=f"Expected sha256: and 64 hexadecimal digits; {remedy} pushes the image.",
            )
        ],
    )
    return variable.string_value
