"""Container images by digest: a tag may move, and a moved tag does not roll anything out."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.environment import Environment

if TYPE_CHECKING:
    from infra.cdk import TerraformStack

ROOT: Final = Path(__file__).resolve().parents[2]


def image(stack: "TerraformStack", environment: Environment, *, service: str) -> str:
    """The image of a service, `<repository>/<service>@sha256:...`.

    In a simulated cloud the digest is that of the sources, so that a change of code rolls out as it would
    with an image. In a real one it is the digest of the pushed image in `<environment>.images.json`. Without
    one the plan of this stack fails and says which command to run; other stacks, which must be deployed
    before there is a registry to push to, can be planned.
    """
    if environment.simulated:
        digest = source_digest(ROOT, service)
    else:
        digest = environment.images.get(service) or _required_variable(stack, environment, service)
    return f"{environment.image_repository}/{service}@{digest}"


def source_paths(service: str) -> tuple[str, ...]:
    """Folders and patterns of the files that services/Dockerfile copies into an image, and itself."""
    folders = (f"services/{name}" for name in ("contracts", "forecasting", "http", service))
    return (*folders, "services/*.py", "services/Dockerfile")


def source_digest(root: Path, service: str) -> str:
    """SHA-256 over the sources of an image, `sha256:...`.

    Raises:
        FileNotFoundError: one of the paths does not exist.
    """
    digest = hashlib.sha256()
    for path in source_paths(service):
        found = sorted(root.glob(path))
        if not found:
            raise FileNotFoundError(root / path)
        for file in (each for start in found for each in ([start], sorted(start.rglob("*")))[start.is_dir()]):
            if file.is_file() and file.parent.name != "__pycache__":
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _required_variable(stack: "TerraformStack", environment: Environment, service: str) -> str:
    """A Terraform variable without a valid default: an error that only the plan of its stack reports."""
    from infra.cdk import (  # starts Node: scripts need none
        TerraformVariable,
        TerraformVariableValidationConfig,
    )

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
