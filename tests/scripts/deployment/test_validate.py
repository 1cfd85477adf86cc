"""`make validate`. A stub stands for Terraform with its registry, which cannot be had here."""

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import environment
from infra.environment.files import DIRECTORY
from scripts.deployment import terraform, validate
from scripts.laptop.install import TERRAFORM

STUB = """\
#!/bin/bash
case "$1" in
  version) echo "Terraform v1.11.4" ;;
  init) [[ $* == *-backend=false* ]] || exit 9; {init} ;;
  validate) {validate} ;;
  *) exit 9 ;;
esac
"""

Validate = Callable[[str, str], subprocess.CompletedProcess[str]]


@pytest.fixture
def validated(
    tmp_path: Path,
    synthesize: Callable[[str, Path], terraform.Synthesis],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Validate:
    """Validate the stacks of dev with a Terraform that does this on `init` and `validate`."""
    environments = tmp_path / "environments"
    environments.mkdir()
    for name in ("dev", "local"):
        file = f"{name}.tfvars"
        (environments / file).write_bytes((DIRECTORY / file).read_bytes())
    monkeypatch.setenv("PLATFORM_ENVIRONMENTS", str(environments))
    monkeypatch.setattr(validate, "synthesize", synthesize)
    program = tmp_path / "terraform"
    for module in (validate, terraform):
        tool = dataclasses.replace(TERRAFORM, command=(str(program), "version"))
        monkeypatch.setattr(module, "TERRAFORM", tool)

    def run(init: str, check: str) -> subprocess.CompletedProcess[str]:
        program.write_text(STUB.format(init=init, validate=check))
        program.chmod(0o755)
        status = validate.main([])
        return subprocess.CompletedProcess(["validate"], status, *capsys.readouterr())

    return run


def test_every_stack_of_a_cloud_environment_is_validated(validated: Validate) -> None:
    done = validated("true", "true")
    assert done.returncode == 0, done.stderr
    stacks = {f"dev-{stack}: valid" for stack in environment.load("dev").stacks}
    assert {*done.stdout.splitlines()} == stacks


def test_a_stack_that_is_not_valid(validated: Validate) -> None:
    wrong = "[[ $PWD != */dev-data ]] || { echo 'Error: Unsupported argument' >&2; exit 1; }"
    done = validated("true", wrong)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "dev-data: Error: Unsupported argument" in lines
    assert "dev-messaging: valid" in lines, "the others are validated all the same"


@pytest.mark.parametrize("error", ["Error: Failed to query available provider packages"])
def test_without_a_registry_nothing_is_validated(validated: Validate, error: str) -> None:
    done = validated(f"echo '{error}' >&2; exit 1", "true")
    assert done.returncode == 3
    assert "there is no registry here; nothing was validated" in done.stderr
    assert error in done.stderr
