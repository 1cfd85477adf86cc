"""`make validate`. A stub stands for Terraform with its registry, which cannot be had here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra import environment
from tests.conftest import REPOSITORY

TERRAFORM = """\
#!/bin/bash
case "$1" in
  version) echo "Terraform v1.11.4" ;;
  init) [[ $* == *-backend=false* ]] || exit 9; {init} ;;
  validate) {validate} ;;
  *) exit 9 ;;
esac
"""


def validate(folder: Path, init: str, check: str) -> subprocess.CompletedProcess[str]:
    """Validate the stacks of dev with a Terraform that does this."""
    environments = folder / "environments"
    environments.mkdir()
    (environments / "dev.tfvars").write_bytes((environment.DIRECTORY / "dev.tfvars").read_bytes())
    (environments / "local.tfvars").write_bytes((environment.DIRECTORY / "local.tfvars").read_bytes())
    terraform = folder / "terraform"
    terraform.write_text(TERRAFORM.format(init=init, validate=check))
    terraform.chmod(0o755)
    variables = {"PLATFORM_ENVIRONMENTS": str(environments), "TERRAFORM_BINARY_NAME": str(terraform)}
    return subprocess.run(
        [sys.executable, "-m", "scripts", "validate"],
        cwd=REPOSITORY,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_stack_of_a_cloud_environment_is_validated(tmp_path: Path) -> None:
    done = validate(tmp_path, "true", "true")
    assert done.returncode == 0, done.stderr
    stacks = {f"dev-{stack}: valid" for stack in environment.load("dev").stacks}
    assert {*done.stdout.splitlines()} == stacks


def test_a_stack_that_is_not_valid(tmp_path: Path) -> None:
    wrong = "[[ $PWD != */dev-data ]] || { echo 'Error: Unsupported argument' >&2; exit 1; }"
    done = validate(tmp_path, "true", wrong)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "dev-data: Error: Unsupported argument" in lines
    assert "dev-messaging: valid" in lines, "the others are validated all the same"


@pytest.mark.parametrize("error", ["Error: Failed to query available provider packages"])
def test_without_a_registry_nothing_is_validated(tmp_path: Path, error: str) -> None:
    done = validate(tmp_path, f"echo '{error}' >&2; exit 1", "true")
    assert done.returncode == 3
    assert "there is no registry here; nothing was validated" in done.stderr
    assert error in done.stderr
