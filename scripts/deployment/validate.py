"""Validate every stack of the cloud environments with the real providers: `make validate`.

Terraform downloads the providers, so it needs its registry or a mirror. No login is needed. Exit status: 0
all are valid, 1 one is not, 3 there is no registry to download the providers from.
"""

import tempfile
from pathlib import Path

from infra import environment
from scripts.command import CommandError, NoAnswerError, command
from scripts.deployment.terraform import Terraform, synthesize
from scripts.laptop.install import TERRAFORM, tool_fault


@command("validate")
def main() -> int:
    """Print a line for each stack."""
    if fault := tool_fault(TERRAFORM):
        raise CommandError(fault)
    status = 0
    for target in environment.load_all(directory=environment.directory()):
        if target.simulated:
            continue
        with tempfile.TemporaryDirectory(prefix="validate-") as folder:
            synthesis = synthesize(target.name, Path(folder) / "out")
            for stack in synthesis.stacks:
                terraform = Terraform(synthesis, stack)
                done = terraform.run("init", "-backend=false", "-input=false", "-no-color")
                if "Failed to query available provider packages" in done.stderr:
                    raise NoAnswerError(
                        f"there is no registry here; nothing was validated:\n{done.stderr.strip()}"
                    )
                if done.returncode == 0:
                    done = terraform.run("validate", "-no-color")
                print(f"{stack}: {'valid' if done.returncode == 0 else done.stderr.strip()}")
                status |= int(done.returncode != 0)
    return status
