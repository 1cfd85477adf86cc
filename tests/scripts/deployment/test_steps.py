"""Steps run in order, each with a log; a failure stops them and tells its cause and remedy."""

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from scripts.command import CommandError
from scripts.deployment.steps import Step, StepRunner
from scripts.paths import ROOT
from tests.conftest import wait_for


def shell(name: str, script: str) -> Step:
    return Step(name, ("sh", "-c", script))


def run(folder: Path, *each: Step) -> dict[str, float]:
    runner = StepRunner(Console(file=io.StringIO()), folder / "logs", "make up")
    for step in each:
        runner.run(step, {"WORD": "hi"})
    return runner.progress.taken


def test_steps_run_in_order_with_the_environment_and_a_log_each(tmp_path: Path) -> None:
    file = tmp_path / "file"
    taken = run(tmp_path, shell("first one", f"echo $WORD > {file}"), shell("second", f"cat {file}; pwd >&2"))
    assert list(taken) == ["first one", "second"]
    assert (tmp_path / "logs" / "second.log").read_text() == f"hi\n{ROOT}\n"
    assert (tmp_path / "logs" / "first-one.log").read_text() == ""


def test_a_failed_step_names_cause_log_and_what_repeats_it(tmp_path: Path) -> None:
    never = tmp_path / "never"
    with pytest.raises(CommandError) as caught:
        run(tmp_path, shell("breaks", "echo the cause; exit 3"), shell("after", f"touch {never}"))
    message = str(caught.value)
    assert "breaks" in message
    assert "exited with 3" in message
    assert "the cause" in message
    assert str(tmp_path / "logs" / "breaks.log") in message
    assert "to repeat it: sh -c 'echo the cause; exit 3'\n" in message
    assert message.endswith("to go on from there: make up")
    assert not never.exists()


def test_a_step_gets_no_input(tmp_path: Path) -> None:
    run(tmp_path, Step("reads", (sys.executable, "-c", "import sys; assert sys.stdin.read() == ''")))


def test_terraforms_error_is_shown_rather_than_the_end_of_the_log(tmp_path: Path) -> None:
    noise = "seq 1 40"
    with pytest.raises(CommandError) as caught:
        run(tmp_path, shell("deploy", f"{noise}; echo 'Error: port 8780 is taken'; {noise}; exit 1"))
    assert "port 8780 is taken" in str(caught.value)
    assert "\n    40\n" not in str(caught.value)


INTERRUPTED = """
import pathlib, sys
from rich.console import Console
from scripts.command import CommandError
from scripts.deployment.steps import Step, StepRunner
command = ("sh", "-c", "trap 'sleep 0.5; echo saved; exit 1' INT; echo begun; while :; do sleep 0.1; done")
try:
    StepRunner(Console(), pathlib.Path(sys.argv[1]), "make up").run(Step("deploy", command), {})
except CommandError as error:
    sys.exit(str(error))
"""


def test_an_interrupted_command_may_finish(tmp_path: Path) -> None:
    log = tmp_path / "deploy.log"
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, tmp_path],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for("the command", lambda: log.is_file() and "begun" in log.read_text())
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=180)
    assert process.returncode == 1
    assert said.startswith(f"deploy: interrupted\n  log: {log}\n")
    assert log.read_text() == "begun\nsaved\n"


TERRAFORM = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit("the command was interrupted"))
time.sleep(0.1)
script = "trap 'sleep 0.5; echo saved; exit 1' INT; echo begun; sleep 60 & wait"
print(subprocess.run([sys.argv[1], "-c", script]))
"""


@pytest.mark.parametrize("name", ["terraform", "tofu-1.12"])
def test_of_a_command_terraform_alone_is_interrupted(tmp_path: Path, name: str) -> None:
    """The command would end at once, and what Terraform has made would be in no state."""
    terraform = tmp_path / name
    terraform.symlink_to(shutil.which("bash") or "")
    program = tmp_path / "command.py"
    program.write_text(TERRAFORM)
    command = (sys.executable, "-u", str(program), str(terraform))
    source = INTERRUPTED[: INTERRUPTED.index("command =")] + f"command = {command}\n"
    source += INTERRUPTED[INTERRUPTED.index("try:") :]
    log = tmp_path / "deploy.log"
    process = subprocess.Popen(
        [sys.executable, "-c", source, tmp_path],
        cwd=ROOT,
        env=os.environ | {"TERRAFORM_BINARY_NAME": str(terraform)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for("Terraform", lambda: log.is_file() and "begun" in log.read_text())
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=180)
    assert "saved" in log.read_text()
    assert "the command was interrupted" not in log.read_text()
