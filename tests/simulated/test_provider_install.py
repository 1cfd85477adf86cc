"""Terraform and cdktf find the simulated providers by themselves."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.simulator import install
from tests.simulated.conftest import REPOSITORY, Stack

ACCOUNT = {"google_service_account": {"account": {"account_id": "runner"}}}


def test_from_anywhere_with_chdir(stack: Stack) -> None:
    stack.write(ACCOUNT)
    shutil.rmtree(stack.folder / ".terraform")
    for verb in ("init", "plan"):
        chdir = f"-chdir={os.path.relpath(stack.folder, REPOSITORY)}"
        done = stack.terraform(chdir, verb, "-input=false", cwd=REPOSITORY)
        assert done.returncode == 0, done.stderr


def test_linking_again_changes_nothing(stack: Stack) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in stack.folder.rglob("*") if path.is_file()}

    stack.write(ACCOUNT)
    before = files()
    install.link(stack.outdir)
    assert files() == before


def test_another_home_is_another_state(stack: Stack) -> None:
    stack.write(ACCOUNT)
    content = json.loads((stack.folder / "cdk.tf.json").read_text())
    for name in ("first", "second"):
        path = str(stack.folder / f"{name}.tfstate")
        content["terraform"]["backend"] = {"local": {"path": path}}
        (stack.folder / "cdk.tf.json").write_text(json.dumps(content))
        install.link(stack.outdir)
        done = stack.terraform("init", "-input=false")
        assert done.returncode == 0, done.stderr


def test_stacks_of_real_providers_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "stacks" / "real"
    folder.mkdir(parents=True)
    required = {"google": {"source": "hashicorp/google", "version": "8.0.0"}}
    (folder / "cdk.tf.json").write_text(json.dumps({"terraform": {"required_providers": required}}))
    install.link(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["cdk.tf.json"]


def test_a_missing_installation_is_reported(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = tmp_path / "a clone, somewhere's"
    root.mkdir()
    monkeypatch.setattr(install, "ROOT", root)
    stack.write(ACCOUNT)
    planned = stack.terraform("plan", "-no-color")
    assert planned.returncode == 1
    assert "the simulated cloud is not installed in" in planned.stderr
    assert "run 'make install' there" in planned.stderr


def test_cdktf_needs_no_flag_no_configuration_and_no_network(
    make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    cdktf = REPOSITORY / "node_modules" / ".bin" / "cdktf"
    if not cdktf.exists():
        pytest.skip(f"{cdktf} is absent: run `make install`")
    stack = make_stack("stack")
    stack.write(ACCOUNT)
    shutil.rmtree(stack.folder / ".terraform")  # as after a first synthesis
    manifest = {
        "version": "0.21.0",
        "stacks": {
            "stack": {
                "name": "stack",
                "constructPath": "stack",
                "workingDirectory": "stacks/stack",
                "synthesizedStackPath": "stacks/stack/cdk.tf.json",
                "annotations": [],
                "dependencies": [],
            }
        },
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "cdktf.json").write_text(json.dumps({"app": "true", "language": "python", "output": "."}))
    environment = {
        **stack.environment,
        "CI": "true",
        "TF_CLI_CONFIG_FILE": str(tmp_path / "absent"),
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    for arguments in (["deploy", "stack", "--auto-approve"], ["diff", "stack"]):
        done = subprocess.run(
            [cdktf, *arguments, "--skip-synth", "--no-color"],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "No changes. Your infrastructure matches the configuration." in done.stdout
