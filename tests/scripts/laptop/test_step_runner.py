"""Steps run in order, each with a log, and stop at the first failure with all that is needed to go on."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from scripts.laptop import step_runner as steps
from scripts.laptop.step_runner import Step, StepError


def shell(name: str, script: str) -> Step:
    return Step(name, ("sh", "-c", script), f"mend {name}")


def run(folder: Path, *each: Step) -> dict[str, float]:
    return steps.run(
        each, console=Console(file=io.StringIO()), logs=folder / "logs", environment={"WORD": "hi"}
    )


def test_steps_run_in_order_with_the_environment_and_a_log_each(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    taken = run(tmp_path, shell("first one", f"echo $WORD > {mark}"), shell("second", f"cat {mark}; pwd >&2"))
    assert list(taken) == ["first one", "second"]
    assert (tmp_path / "logs" / "second.log").read_text() == f"hi\n{steps.ROOT}\n"
    assert (tmp_path / "logs" / "first-one.log").read_text() == ""


def test_a_failed_step_tells_which_why_where_and_what_to_do(tmp_path: Path) -> None:
    never = tmp_path / "never"
    with pytest.raises(StepError) as caught:
        run(tmp_path, shell("breaks", "echo the cause; exit 3"), shell("after", f"touch {never}"))
    message = str(caught.value)
    assert "breaks" in message
    assert "exited with 3" in message
    assert "the cause" in message
    assert str(tmp_path / "logs" / "breaks.log") in message
    assert "mend breaks" in message
    assert not never.exists()


def test_a_step_gets_no_input(tmp_path: Path) -> None:
    run(tmp_path, Step("reads", (sys.executable, "-c", "import sys; assert sys.stdin.read() == ''"), ""))


def test_terraforms_error_is_shown_rather_than_what_follows_it(tmp_path: Path) -> None:
    noise = "seq 1 40"
    with pytest.raises(StepError) as caught:
        run(tmp_path, shell("deploy", f"{noise}; echo 'Error: port 8780 is taken'; {noise}; exit 1"))
    assert "port 8780 is taken" in str(caught.value)
    assert "\n    40\n" not in str(caught.value)


INTERRUPTED = """
import pathlib, sys
from rich.console import Console
from scripts.laptop import step_runner as steps
command = ("sh", "-c", "trap 'sleep 0.5; echo saved; exit 1' INT; echo begun; while :; do sleep 0.1; done")
step = steps.Step("deploy", command, "run it again")
try:
    steps.run([step], console=Console(), logs=pathlib.Path(sys.argv[1]), environment={})
except steps.StepError as error:
    sys.exit(str(error))
"""


def test_an_interrupted_command_ends_by_itself(tmp_path: Path) -> None:
    log = tmp_path / "deploy.log"
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, tmp_path],
        cwd=steps.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not (log.is_file() and "begun" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said == "deploy: interrupted\n  what to do: run it again\n"
    assert log.read_text() == "begun\nsaved\n"
