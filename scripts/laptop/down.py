"""Destroy the local platform and stop every process of it: `make down`."""

import subprocess
import sys

from rich.console import Console

from infra.simulator import home
from scripts.laptop import step_runner as steps
from scripts.laptop.step_runner import LOCAL, ROOT, SIMULATOR, Step


def main() -> int:
    """Destroy in Terraform's order, then stop what is left; 1 when Terraform could not destroy all."""
    destroy = Step(
        "destroy the stacks",
        steps.cdktf("destroy", "local-*"),
        "the processes are stopped all the same; `make up` repairs the platform, `make down` tries again",
    )
    status = 0
    if any(home.folder("terraform").glob("local-*.tfstate")):
        try:
            steps.run([destroy], console=Console(), logs=home.folder("logs") / "down", environment=LOCAL)
        except steps.StepError as error:
            print(f"make down: {error}", file=sys.stderr)
            status = 1
    return subprocess.run((*SIMULATOR, "down"), cwd=ROOT, check=False).returncode or status


if __name__ == "__main__":
    sys.exit(main())
