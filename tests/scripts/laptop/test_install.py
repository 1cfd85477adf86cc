"""What `make install` says on a machine that lacks tools."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def install(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "laptop" / "install.py"],
        env={**os.environ, "PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, name: str, prints: str) -> None:
    file = path / name
    file.write_text(f"#!/bin/sh\necho '{prints}'\n")
    file.chmod(0o755)


def test_everything_missing_is_told_at_once_with_its_remedy(tmp_path: Path) -> None:
    done = install(tmp_path)
    assert done.returncode == 1
    for tool, remedy in {
        "Terraform >= 1.6": "developer.hashicorp.com",
        "Node.js >= 20": "nodejs.org",
        "npm >= ": "nodejs.org",
        "Java >= 11": "default-jre-headless",
        "Pub/Sub emulator": "gcloud components install pubsub-emulator",
    }.items():
        [line] = [line for line in done.stderr.splitlines() if tool in line]
        assert remedy in line
    assert done.stdout == ""


def test_an_old_tool_is_told_with_its_version(tmp_path: Path) -> None:
    program(tmp_path, "terraform", "Terraform v1.5.7")
    program(tmp_path, "node", "v18.19.0")
    program(tmp_path, "npm", "11.1.0")
    program(tmp_path, "java", 'openjdk version "17.0.15"')
    # The stand-ins need a shell.
    (tmp_path / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    done = install(tmp_path)
    assert done.returncode == 1
    assert "Terraform >= 1.6 (found 1.5)" in done.stderr
    assert "Node.js >= 20 (found 18.19)" in done.stderr
    assert "npm" not in done.stderr
    assert "Java" not in done.stderr


def test_gcloud_without_the_emulator_component(tmp_path: Path) -> None:
    program(tmp_path, "gcloud", str(tmp_path))
    done = install(tmp_path)
    assert done.returncode == 1
    assert "gcloud is there, its component is not" in done.stderr
