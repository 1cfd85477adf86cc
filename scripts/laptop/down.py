"""Destroy the local platform and stop all its processes: `make down`."""

import subprocess
import sys

from rich.console import Console

from infra.simulator import home
from scripts.command import CommandError, command
from scripts.laptop import cdktf, step_runner
from scripts.laptop.step_runner import Step
from scripts.paths import ROOT, SIMULATOR


@command("make down")
def main() -> int:
    """Destroy the stacks, then stop the remaining processes; 1 if Terraform could not destroy everything."""
    destroy = Step(
        "destroy the stacks",
        cdktf.command("destroy", "local-*"),
        "the processes are stopped all the same; `make up` repairs the platform, `make down` tries again",
    )
    status = 0
    if any(home.folder("terraform").glob("local-*.tfstate")):
        logs = home.folder("logs") / "down"
        try:
            step_runner.run([destroy], console=Console(), logs=logs, environment=cdktf.VARIABLES)
        except CommandError as error:
            print(f"make down: {error}", file=sys.stderr)
            status = 1
    return subprocess.run((*SIMULATOR, "down"), cwd=ROOT, check=False).returncode or status


if __name__ == "__main__":
    sys.exit(main())
