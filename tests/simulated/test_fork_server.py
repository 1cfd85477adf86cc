"""Providers are forks of one process."""

import json
import signal
import subprocess
import zlib
from pathlib import Path

import psutil
import pytest

from infra.simulator import install
from tests.checkout import copy_checkout, link_installed
from tests.conftest import wait_for
from tests.simulated.conftest import REPOSITORY, Stack

ACCOUNT = {"google_service_account": {"account": {"account_id": "runner"}}}


def fork_server(stack: Stack, root: Path) -> psutil.Process:
    """The one of a checkout. It listens from soon after the first provider on."""
    home, checkout = Path(stack.environment["SIMULATOR_HOME"]), f"{zlib.crc32(bytes(root)):08x}"
    wait_for("the fork server", (home / f"providers-{checkout}.sock").exists)
    record = json.loads((home / "processes" / f"simulator.providers-{checkout}.json").read_text())
    return psutil.Process(record["pid"])


def test_a_changed_source_is_served_at_once(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "checkout"
    copy_checkout(root)
    link_installed(root)
    monkeypatch.setattr(install, "ROOT", root)
    stack.write(ACCOUNT)
    assert stack.plan().changes() == {"google_service_account.account": "create"}
    assert fork_server(stack, root).is_running()
    source = root / "infra" / "simulator" / "provider.py"
    source.write_text(source.read_text().replace("This is a simulation", "This is another one"))
    [warning] = stack.apply().diagnostics("warning")
    assert warning["summary"] == "This is another one"


def test_a_killed_terraform_leaves_no_fork(stack: Stack) -> None:
    stack.write(ACCOUNT)
    stack.plan()
    server = fork_server(stack, REPOSITORY)
    faults = Path(stack.environment["SIMULATOR_HOME"], "faults.json")
    faults.write_text(json.dumps([{"type": "google_service_account", "seconds": 600}]))
    command = ["terraform", "apply", "-auto-approve"]
    with subprocess.Popen(
        command, cwd=stack.folder, env=stack.environment, stdout=subprocess.PIPE, text=True
    ) as terraform:
        assert terraform.stdout
        assert any("account: Creating..." in line for line in terraform.stdout)
        assert server.children()
        for each in psutil.Process(terraform.pid).children(recursive=True):
            each.send_signal(signal.SIGKILL)
        terraform.kill()
    faults.unlink()
    wait_for("the fork has ended", lambda: not server.children())
