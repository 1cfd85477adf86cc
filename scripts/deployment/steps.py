"""Run commands one after another: elapsed time, a log each, a stop at the first failure."""

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import psutil
from rich.console import Console

from infra.environment import Environment
from infra.simulator import home
from scripts.command import CommandError, started
from scripts.deployment.terraform import Terraform
from scripts.laptop.install import TERRAFORM
from scripts.paths import ROOT
from scripts.progress import Progress

_CAUSE_LINES: Final = 20
# A wrapper starts one of the first two.
_TERRAFORM: Final = {"terraform", "tofu", Path(TERRAFORM.command[0]).name}


class Step(NamedTuple):
    """One command, which can be repeated; `again` is what somebody types to do so, if that is another one."""

    name: str
    command: Sequence[str]
    folder: Path = ROOT
    again: Sequence[str] = ()


class StepRunner:
    """Runs steps, and remembers how long each took; `resume` is the command that runs all of them."""

    def __init__(self, console: Console, logs: Path, resume: str) -> None:
        self._logs = logs
        self._resume = resume
        logs.mkdir(parents=True, exist_ok=True)
        self.progress = Progress(console, logs / "durations.json")

    def run(self, step: Step, variables: Mapping[str, str]) -> None:
        """Run a step to its end; CommandError, if it failed or was interrupted, says what repeats it."""
        log = self._logs / f"{step.name.replace(' ', '-')}.log"
        with self.progress.of(step.name) as tell:
            tell(f"log: {log}")
            status, interrupted = _wait(step, log, variables, tell)
            if status != 0 or interrupted:
                again = shlex.join(step.again or step.command)
                what = "interrupted" if interrupted else f"exited with {status}"
                cause = "" if interrupted else "".join(f"\n    {line}" for line in _cause(log))
                raise CommandError(
                    f"{step.name}: {what}{cause}\n  log: {log}\n  to repeat it: {again}\n"
                    f"  to go on from there: {self._resume}"
                )

    def apply(self, terraform: Terraform, verb: Literal["deploy", "destroy"]) -> None:
        """Deploy or destroy a stack; CommandError as `run`."""
        command = terraform.initialized("destroy" if verb == "destroy" else "apply", "-auto-approve")
        # Without the option, cdktf takes a stack only together with those it builds on.
        again = ("npx", "cdktf", verb, terraform.stack, "--ignore-missing-stack-dependencies")
        step = Step(f"{verb} {terraform.stack}", command, folder=terraform.folder, again=again)
        self.run(step, terraform.variables)


def _wait(
    step: Step, log: Path, variables: Mapping[str, str], tell: Callable[[str], None]
) -> tuple[int, bool]:
    """Exit status, and whether somebody interrupted it."""
    stop = threading.Event()
    told: set[int] = set()

    def interrupt(*_: object) -> None:
        stop.set()

    handlers = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        log.write_text("")
        # A session of its own: Ctrl-C would end a command at once, and Terraform would forget what it made.
        process = started(
            *step.command, log=log, cwd=step.folder, variables=variables, start_new_session=True
        )
        while True:
            with contextlib.suppress(psutil.TimeoutExpired):
                return process.wait(1), stop.is_set()
            if stop.is_set():
                tell(f"stopping; log: {log}")
                _interrupt(process, told)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def _interrupt(process: psutil.Popen, told: set[int]) -> None:
    """Let Terraform end what it has started and write its state; interrupt any other command as a whole.

    `told` are the processes that were interrupted already: Terraform ends at once when it is told twice.
    """
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        running = [each for each in process.children(recursive=True) if each.name() in _TERRAFORM]
        for each in running:
            if each.pid not in told:
                told.add(each.pid)
                each.send_signal(signal.SIGINT)
        if not running and process.pid not in told:
            told.add(process.pid)
            os.killpg(process.pid, signal.SIGINT)


def _cause(log: Path) -> list[str]:
    """Lines of a log that show the cause: from Terraform's first error on, otherwise the last ones."""
    lines = log.read_text(errors="replace").splitlines()
    first = next((number for number, line in enumerate(lines) if "Error: " in line), -_CAUSE_LINES)
    return lines[first:][:_CAUSE_LINES]


def log_folder(verb: str, target: Environment) -> Path:
    """Where the steps of `deploy`, `apply` or `destroy` have their logs."""
    return (home.folder("logs") if target.simulated else ROOT / "build" / "logs") / f"{verb}-{target.name}"
