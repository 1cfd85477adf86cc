"""Damaged files and taken ports of the local platform: what is said before anything is started or stopped."""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from infra import environment
from infra.simulator import processes
from infra.simulator.home import rotate_logs
from infra.simulator.processes import Process
from scripts.deployment import deploy, destroy
from scripts.laptop import status
from services.contracts.model import MANIFEST_FILE, POINTER_OBJECT
from tests.conftest import Models, free_port, wait_for

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], list[str]]] = {
    "make up": (deploy.main, ["local"]),
    "make status": (status.main, []),
    "make down": (destroy.main, ["local"]),
}
FILES = (
    "terraform/local-data.tfstate",
    "processes/container.app.log.json",
    "resources/google_pubsub_topic/1.json",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a platform with a state and a process."""
    home = tmp_path / "home"
    monkeypatch.setenv("SIMULATOR_HOME", str(home))
    (home / "terraform").mkdir(parents=True)
    for file in (FILES[0], f"{FILES[0]}.backup"):
        (home / file).write_text('{"version": 4, "serial": 3}')
    return home


def start(code: str) -> Process:
    command = (sys.executable, "-uc", f"{code}\nimport time\ntime.sleep(600)")
    return processes.start("container.app.log", command, os.environ, grace_seconds=1)


@pytest.mark.parametrize("content", ["", "{}", '{"version": 4, "ser', "[]", "\0\0\0\0"])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_file_stops_a_command_and_is_named(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, file: str, content: str
) -> None:
    main, arguments = COMMANDS[name]
    (home / "terraform" / "local-new.tfstate").write_text("")  # a deployment was interrupted before its end
    (home / file).parent.mkdir(parents=True, exist_ok=True)
    (home / file).write_text(content)
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{home}/{file} is damaged: `make down FORCE=1`" in line


@pytest.mark.parametrize("file", FILES)
def test_force_clears_what_is_damaged_and_nothing_of_others(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    own = start("")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("SIMULATOR_HOME", str(tmp_path / "other"))
        other = start("")
    try:
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text("")
        assert destroy.main(["local", "--force"]) == 0
        assert not own.alive
        assert not home.exists()
        assert other.alive
    finally:
        psutil.Process(other.pid).kill()


def test_a_taken_port_is_named_before_anything_starts(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, port = tmp_path / "environments", free_port()
    folder.mkdir()
    text = (environment.directory() / "local.tfvars").read_text()
    (folder / "local.tfvars").write_text(text.replace("= 8780", f"= {port}"))
    monkeypatch.setenv("PLATFORM_ENVIRONMENTS", str(folder))
    with socket.create_server(("127.0.0.1", port)):
        assert deploy.main(["local"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"port {port} is taken by process {os.getpid()} (" in line
    assert "give prediction another port in infra/environments/local.tfvars. Nothing was started" in line
    assert not (home / "logs").exists()


def test_a_log_that_grows_is_moved_aside(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes it knows nothing of that."""
    monkeypatch.setattr("infra.simulator.home.MAX_LOG_BYTES", 1000)
    more = home / "more"
    process = start(
        "import pathlib, time\nfor n in range(200): print('line', n)\n"
        f"while not pathlib.Path({str(more)!r}).exists(): time.sleep(0.05)\nprint('more')"
    )
    log = Path(process.log)
    try:
        wait_for("it has written", lambda: "line 199\n" in log.read_text())
        rotate_logs(home)
        more.touch()
        wait_for("it goes on from the beginning", lambda: log.read_bytes() == b"more\n")
        rotate_logs(home)
        assert log.with_suffix(".log.1").read_text().endswith("line 199\n")
    finally:
        processes.stop([process.name])


@pytest.mark.parametrize("damage", ["pointer", "manifest"])
def test_status_tells_of_a_damaged_model(models: Models, damage: str) -> None:
    models.publish("v1")
    name = {"pointer": POINTER_OBJECT, "manifest": f"sales/v1/{MANIFEST_FILE}"}[damage]
    models.bucket.blob(name).upload_from_string(b"{")
    assert name.rpartition("/")[2] in status.model_of(models.registry)
