"""Destroy an environment: `scripts/destroy dev`, `make down` for this machine.

An environment whose file protects it is refused before anything happens: set `deletion_protection = false`,
deploy that, then destroy. What remains, in a cloud: images' tags in the repository's history, the state
bucket, the key rings, the caps on quotas, for 30 days the identity pool's name, for 7 the audit logs.
Exit status: 0 done, 1 refused or failed.
"""

import shutil
import subprocess

from rich.console import Console

from infra.environment import Environment
from infra.simulator import home
from scripts.command import TARGET, CommandError, argument, command
from scripts.deployment import access, terraform
from scripts.deployment.steps import StepRunner, log_folder
from scripts.deployment.terraform import Terraform
from scripts.laptop.checks import check_files
from scripts.paths import ROOT, SIMULATOR


@command(
    "destroy",
    TARGET,
    argument("--force", action="store_true", help="local only: remove its folder as it is"),
)
def main(target: Environment, *, force: bool) -> int:
    """Destroy the stacks, then stop what runs here; 1 if Terraform could not destroy everything."""
    if target.deletion_protection:
        remedy = "set deletion_protection = false in its file, deploy that, then destroy it"
        raise CommandError(f"{target.name} is protected: {remedy}")
    if force and target.name != "local":
        raise CommandError("--force is for the platform on this machine")
    access.check_access(target)
    if target.name == "local" and not force:
        check_files()
    runner = StepRunner(Console(), log_folder("destroy", target), f"scripts/destroy {target.name}")
    try:
        if not force:
            synthesis = terraform.synthesize(target.name, terraform.OUT)
            for stack in reversed(synthesis.stacks):
                runner.apply(Terraform(synthesis, stack), "destroy")
    finally:
        if target.name == "local":
            subprocess.run((*SIMULATOR, "down"), cwd=ROOT, check=False)
    if force:
        shutil.rmtree(home.home())
    return 0
