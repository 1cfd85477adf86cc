"""What the benchmarks share: programs under test, interleaved rounds, tables, results as JSON.

It imports little: the peak of a command's memory, as `measure` reads it, is never below that of its parent.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil
from rich.console import Console
from rich.table import Table

from scripts.command import CommandError
from scripts.paths import BENCH, ROOT

Figures = Mapping[str, float]
"""By name; the first one is compared."""
_Key = TypeVar("_Key", bound=Hashable)

MEBIBYTE: Final = 2**20


def interleave(
    measures: Mapping[_Key, Callable[[], Figures]], rounds: int, *, warm_up: bool
) -> dict[_Key, dict[str, float]]:
    """Take all measures in turn, round by round, so that other load on the machine affects all alike.

    Returns the median of each figure. With `warm_up` each measure is taken once more, first.
    """
    runs: dict[_Key, list[Figures]] = {key: [] for key in measures}
    for _ in range(warm_up + rounds):
        for key, measure in measures.items():
            runs[key].append(measure())
    return {
        key: {name: statistics.median(run[name] for run in each[warm_up:]) for name in each[0]}
        for key, each in runs.items()
    }


def measure(command: Sequence[str | Path], variables: Mapping[str, str]) -> dict[str, float]:
    """Run a command to its end: its and its children's CPU, elapsed time, peak memory of the largest.

    Raises:
        CommandError: it failed; carries the end of what it printed.
    """
    with tempfile.TemporaryFile() as out:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            out.seek(0)
            raise CommandError(out.read().decode()[-2000:])
    cpu = usage.ru_utime + usage.ru_stime
    return {"cpu_seconds": cpu, "elapsed_seconds": elapsed, "peak_mib": usage.ru_maxrss * 1024 / MEBIBYTE}


def cpu_seconds(program: psutil.Process) -> float:
    """CPU time of a program and its children so far."""
    return sum(sum(process.cpu_times()[:2]) for process in _members(program))


def pss_mib(program: psutil.Process) -> float:
    """Memory of a program and its children, with a share of each shared page."""
    return sum(process.memory_full_info().pss for process in _members(program)) / MEBIBYTE


def peak_mib(program: psutil.Process) -> float:
    """Resident memory that a program without children had at most so far."""
    status = Path(f"/proc/{program.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _members(program: psutil.Process) -> list[psutil.Process]:
    return [program, *program.children(recursive=True)] if program.is_running() else []


def publish(name: str, title: str, results: Mapping[str, Figures], *, ours: str, **more: Any) -> None:
    """Print a table of the results of each program, and write them and `more` to `build/bench/NAME.json`.

    The unit is the name of the first figure. Ratios are of that, to that of `ours`.
    """
    first, *rest = results[ours]
    ratios = {program: result[first] / results[ours][first] for program, result in results.items()}
    table = Table("", title=title)
    for column in (first, "ratio", *rest):
        table.add_column(column.replace("_", " "), justify="right")
    for program, result in results.items():
        figures = [f"{figure:,.4g}" for figure in result.values()]
        table.add_row(program, figures[0], f"{ratios[program]:,.2f}", *figures[1:])
    Console(width=140).print(table)
    del ratios[ours]
    peers = {program: results[program] for program in ratios}
    content = {"unit": first, "ours": results[ours], "peers": peers, "ratios": ratios}
    BENCH.mkdir(parents=True, exist_ok=True)
    (BENCH / f"{name}.json").write_text(json.dumps(content | more, indent=2) + "\n", encoding="utf-8")
