"""Run commands one after another: progress on the terminal, a log each, a stop at the first failure."""

import dataclasses
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from scripts.command import CommandError
from scripts.paths import ROOT

_CAUSE_LINES: Final = 20


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


def run(
    steps: Sequence[Step], *, console: Console, logs: Path, environment: Mapping[str, str]
) -> dict[str, float]:
    """Run the steps in order, from the project's root. Returns seconds by step name.

    Raises:
        CommandError: a step failed or was interrupted; later steps did not run.
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
                # The command receives Ctrl-C too: Terraform ends what it has started and writes its state.
                process.wait()
                raise CommandError(f"{step.name}: interrupted\n  what to do: {step.remedy}") from None
        taken[step.name] = time.monotonic() - started
        if status != 0:
            cause = "\n".join(f"    {line}" for line in _cause(log))
            raise CommandError(
                f"{step.name}: `{' '.join(step.command)}` exited with {status}\n{cause}\n"
                f"  log: {log}\n  what to do: {step.remedy}"
            )
        console.print(f"[green]✓[/] {step.name} [dim]{taken[step.name]:.1f} s[/]", highlight=False)
    return taken


def _cause(log: Path) -> list[str]:
    """Lines of a log that show the cause: from Terraform's first error on, otherwise the last ones."""
    lines = log.read_text(errors="replace").splitlines()
    first = next((number for number, line in enumerate(lines) if "Error: " in line), -_CAUSE_LINES)
    return lines[first:][:_CAUSE_LINES]
