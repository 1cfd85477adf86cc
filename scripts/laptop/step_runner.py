"""Run commands one after the other, with progress, a log for each and a clear end at the first failure."""

import dataclasses
import os
import pathlib
import subprocess
import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIMULATOR = ("build/venvs/simulator/bin/python", "-m", "infra.simulator")

# For cdktf and Terraform: plain text, no prompts, no question home for a newer version, one environment.
LOCAL = {
    "CI": "true",
    "NO_COLOR": "1",
    "CHECKPOINT_DISABLE": "1",
    "PLATFORM_ENV": "local",
    # A mirror in the user's own configuration would keep Terraform from looking for the simulated providers.
    "TF_CLI_CONFIG_FILE": os.devnull,
}

_CAUSE_LINES = 20


class StepError(Exception):
    """A step's command exited non-zero; the message says which, why, where the log is and what to do."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: what it achieves, as shown.
        command: program and arguments.
        remedy: what to do when it fails.
    """

    name: str
    command: Sequence[str]
    remedy: str


def cdktf(verb: str, *arguments: str) -> tuple[str, ...]:
    """A cdktf command that asks nothing and colours nothing."""
    return ("node_modules/.bin/cdktf", verb, *arguments, "--auto-approve", "--no-color")


def run(
    steps: Sequence[Step], *, console: Console, logs: pathlib.Path, environment: Mapping[str, str]
) -> dict[str, float]:
    """Run the steps in order, from the project's root. Returns seconds by step name.

    Raises:
        StepError: at the first that fails or is interrupted; those after it are not run.
    """
    logs.mkdir(parents=True, exist_ok=True)
    taken: dict[str, float] = {}
    for step in steps:
        log = logs / f"{step.name.replace(' ', '-')}.log"
        started = time.monotonic()
        with console.status(f"{step.name} [dim](log: {escape(str(log))})[/]"), log.open("wb") as out:
            process = subprocess.Popen(
                step.command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            try:
                status = process.wait()
            except KeyboardInterrupt:
                # The command was sent Ctrl-C, too: Terraform ends what it has begun and writes its state.
                process.wait()
                raise StepError(f"{step.name}: interrupted\n  what to do: {step.remedy}") from None
        taken[step.name] = time.monotonic() - started
        if status != 0:
            cause = "\n".join(f"    {line}" for line in _cause(log))
            raise StepError(
                f"{step.name}: `{' '.join(step.command)}` exited with {status}\n{cause}\n"
                f"  log: {log}\n  what to do: {step.remedy}"
            )
        console.print(f"[green]✓[/] {step.name} [dim]{taken[step.name]:.1f} s[/]", highlight=False)
    return taken


def _cause(log: pathlib.Path) -> list[str]:
    """The lines of a log that tell why: from Terraform's first error on, or else the last ones."""
    lines = log.read_text(errors="replace").splitlines()
    first = next((number for number, line in enumerate(lines) if "Error: " in line), -_CAUSE_LINES)
    return lines[first:][:_CAUSE_LINES]
