"""What `make install` says on a machine that lacks tools."""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from unittest import mock

import pytest

from scripts.laptop import install as install_module
from scripts.laptop.install import TOOLS_NEEDED

ROOT = Path(__file__).resolve().parents[3]


def install(path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    unset = ("JAVA_HOME", "CLOUDSDK_ROOT_DIR", "PUBSUB_EMULATOR_JAR", "TERRAFORM_BINARY_NAME")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        [sys.executable, "-m", "scripts", "install"],
        cwd=ROOT,
        env={**inherited, "PATH": str(path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, name: str, prints: str, status: int = 0) -> None:
    file = path / name
    file.write_text(f"#!/bin/sh\necho '{prints}'\nexit {status}\n")
    file.chmod(0o755)


def test_everything_missing_is_told_at_once_with_its_remedy(tmp_path: Path) -> None:
    done = install(tmp_path)
    assert done.returncode == 1
    for tool, remedy in {
        "Terraform >= 1.6": "developer.hashicorp.com",
        "Node.js >= 20": "nodejs.org",
        "npm >= ": "nodejs.org",
        "Java >= 11": "adoptium.net",
        "Pub/Sub emulator": "gcloud components install pubsub-emulator",
    }.items():
        [line] = [line for line in done.stderr.splitlines() if tool in line]
        assert remedy in line
    assert done.stdout == ""


def test_an_old_tool_is_told_with_its_version(tmp_path: Path) -> None:
    program(tmp_path, "terraform", "Terraform v1.5.7")
    program(tmp_path, "node", "v18.19.0")
    program(tmp_path, "npm", "9.2.0")
    program(tmp_path, "java", 'openjdk version "17.0.15"')
    # The stand-ins need a shell.
    (tmp_path / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    done = install(tmp_path)
    assert done.returncode == 1
    assert "Terraform >= 1.6 (found 1.5)" in done.stderr
    assert "Node.js >= 20 (found 18.19)" in done.stderr
    # It does not understand the overrides of package.json.
    assert "npm >= 10 (found 9.2)" in done.stderr
    assert "Java" not in done.stderr


def test_a_tool_for_another_machine_is_broken(tmp_path: Path) -> None:
    for name in ("java", "gcloud"):
        (tmp_path / name).write_text(f"#!{tmp_path}/absent\n")
        (tmp_path / name).chmod(0o755)
    done = install(tmp_path)
    assert done.returncode == 1
    assert "Java >= 11 (`java` is broken: No such file or directory)" in done.stderr
    assert "the Pub/Sub emulator (`gcloud` is broken: No such file or directory)" in done.stderr


def test_javas_options_are_not_its_version(tmp_path: Path) -> None:
    (tmp_path / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    program(tmp_path, "java", 'Picked up JAVA_TOOL_OPTIONS: -Xmx2g\nopenjdk version "17.0.15"')
    assert "Java" not in install(tmp_path).stderr


def test_gcloud_without_the_emulator_component(tmp_path: Path) -> None:
    program(tmp_path, "gcloud", str(tmp_path))
    done = install(tmp_path)
    assert done.returncode == 1
    assert "gcloud is there, its component is not" in done.stderr


def test_gcloud_is_not_asked_if_the_emulator_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "sdk" / "platform" / "pubsub-emulator").mkdir(parents=True)
    (tmp_path / "sdk" / "bin").mkdir()
    program(tmp_path / "sdk" / "bin", "gcloud", "it takes long to start", 1)
    (tmp_path / "gcloud").symlink_to(tmp_path / "sdk" / "bin" / "gcloud")
    assert "Pub/Sub" not in install(tmp_path).stderr


def test_the_line_that_brings_a_tool_is_that_of_the_machines_package_manager(tmp_path: Path) -> None:
    program(tmp_path, "apt-get", "")
    told = install(tmp_path).stderr
    assert "`sudo apt-get install default-jre-headless`" in told
    # Debian 12 has Node.js 18 and npm 9.
    assert "`sudo apt-get install npm && sudo npm install --global node@24 npm@11`" in told
    program(tmp_path, "mise", "")
    told = install(tmp_path).stderr
    assert told.count("`mise install`") == len(TOOLS_NEEDED) - 2  # this Python and its pip are there
    assert "`mise run emulator`" in told


def test_a_tool_that_prints_no_version_is_broken(tmp_path: Path) -> None:
    program(tmp_path, "node", "Segmentation fault\nat 0x00", 139)
    assert "(`node` is broken: Segmentation fault)" in install(tmp_path).stderr


def test_a_python_without_its_package_for_environments(tmp_path: Path) -> None:
    program(tmp_path, "apt-get", "")
    (tmp_path / "ensurepip.py").write_text("raise ModuleNotFoundError(\"No module named 'ensurepip'\")")
    told = install(tmp_path, PYTHONPATH=str(tmp_path)).stderr
    assert (
        "is broken: ModuleNotFoundError: No module named 'ensurepip'): `sudo apt-get install python3-venv`"
        in told
    )


def test_variables_name_tools_that_are_not_on_path(tmp_path: Path) -> None:
    (tmp_path / "jdk" / "bin").mkdir(parents=True)
    program(tmp_path / "jdk" / "bin", "java", 'openjdk version "21.0.1"')
    program(tmp_path, "tofu", "OpenTofu v1.10.2")
    (tmp_path / "emulator.jar").touch()
    done = install(
        tmp_path,
        JAVA_HOME=str(tmp_path / "jdk"),
        TERRAFORM_BINARY_NAME="tofu",
        PUBSUB_EMULATOR_JAR=str(tmp_path / "emulator.jar"),
    )
    for tool in ("Terraform", "Java", "Pub/Sub"):
        assert tool not in done.stderr
    assert "there is no file" in install(tmp_path, PUBSUB_EMULATOR_JAR=str(tmp_path / "absent.jar")).stderr


def test_who_waits_is_told_for_what_and_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "install.json").write_text('{"seconds": 81.4}')
    instead = {"missing_tools": [], "install_tools": 0.0, "install_group": 0.0, "install_bindings": 0.0}
    for name, answer in (instead | {"download": 0.0}).items():
        monkeypatch.setattr(install_module, name, mock.Mock(return_value=answer))
    monkeypatch.setattr(install_module, "install_cdktf", lambda: time.sleep(0.5) or 12.0)
    monkeypatch.setattr(install_module, "BUILD", tmp_path)
    monkeypatch.setattr(install_module, "_TOLD_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(sys, "argv", ["install"])
    assert install_module.main() == 0
    *waits, last = capsys.readouterr().out.splitlines()
    assert waits[-1].endswith(" s, 81 s in all last time: installing cdktf command line")
    assert last == "  installed cdktf command line (12 s)"
    assert json.loads((tmp_path / "install.json").read_text())["seconds"] < 81


def test_mise_and_the_dev_container_bring_what_is_needed() -> None:
    """The same versions of the same tools, none of them too old."""
    mise = tomllib.loads((ROOT / "mise.toml").read_text())
    wanted = {name: version.removeprefix("temurin-") for name, version in mise["tools"].items()}
    assert wanted.pop("gcloud") == "latest"
    assert mise["tasks"]["emulator"]["run"] == "gcloud components install --quiet pubsub-emulator"
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    features = {name.split("/")[-1].split(":")[0]: each for name, each in container["features"].items()}
    assert features.pop("google-cloud-cli")
    assert "google-cloud-cli-pubsub-emulator" in container["onCreateCommand"]
    versions = {name: each["version"] for name, each in features.items()}
    versions["python"] = container["image"].split(":")[1].split("-")[0]
    assert versions == wanted
    minima = {tool.name.replace("Node.js", "node").lower(): tool.minimum for tool in TOOLS_NEEDED}
    for name, version in wanted.items():
        assert tuple(map(int, version.split("."))) >= minima[name][: version.count(".") + 1]
