"""What the benchmarks share: interleaved rounds, tables, results as JSON, the peers' own packages."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rich.console import Console
from rich.table import Table

from scripts.command import CommandError
from scripts.paths import BENCH, ROOT, VENVS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Run = TypeVar("Run", bound="DataclassInstance")
Key = TypeVar("Key")

MEBIBYTE: Final = 2**20


def interleave(measures: Mapping[Key, Callable[[], Run]], rounds: int, *, warm_up: bool) -> dict[Key, Run]:
    """Take all measures in turn, round by round, so that other load on the machine affects all alike.

    Returns the medians of the fields of each. With `warm_up` each is called once more, first.
    """
    runs: dict[Key, list[Run]] = {key: [] for key in measures}
    for round_ in range(rounds + warm_up):
        for key, measure in measures.items():
            run = measure()
            if round_ or not warm_up:
                runs[key].append(run)
    return {key: median(each) for key, each in runs.items()}


def median(runs: Sequence[Run]) -> Run:
    """The median of each field."""
    columns = zip(*map(astuple, runs), strict=True)
    return type(runs[0])(*(statistics.median(column) for column in columns))


@dataclass(frozen=True)
class Usage:
    """Cost of a process and its children: CPU and elapsed seconds, peak memory of the largest in MiB."""

    cpu_seconds: float
    elapsed_seconds: float
    peak_mib: float


def measure(command: Sequence[str], variables: Mapping[str, str]) -> Usage:
    """Run a command to its end.

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
    return Usage(usage.ru_utime + usage.ru_stime, elapsed, usage.ru_maxrss * 1024 / MEBIBYTE)


def publish(name: str, title: str, results: Mapping[str, Run], *, ours: str, **more: Any) -> None:
    """Print a table of the results of each program, and write `build/bench/NAME.json`.

    Ratios are those of the first field, to that of `ours`. `more` are other keys of the file.
    """
    names = [field.name for field in fields(results[ours])]
    own = astuple(results[ours])[0]
    ratios = {other: astuple(result)[0] / own for other, result in results.items()}
    table = Table("", title=title)
    for column in (names[0], "ratio", *names[1:]):
        table.add_column(column.replace("_", " "), justify="right")
    for program, result in results.items():
        first, *rest = (f"{value:,.4g}" for value in astuple(result))
        table.add_row(program, first, f"{ratios[program]:,.2f}", *rest)
    Console(width=140).print(table)
    peers = {program: asdict(result) for program, result in results.items() if program != ours}
    BENCH.mkdir(parents=True, exist_ok=True)
    content = {
        "ours": asdict(results[ours]),
        "peers": peers,
        "ratios": {program: ratios[program] for program in peers},
        **more,
    }
    (BENCH / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def peer_python(name: str, pins: Sequence[str]) -> str:
    """The interpreter of a virtual environment with a peer's packages, which is made on first use."""
    folder = VENVS / "peers-serving" / name
    done = folder / "pins.txt"
    if not done.exists() or done.read_text() != "\n".join(pins):
        uv = VENVS / "tools" / "bin" / "uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python"]
        subprocess.run([*install, *pins], check=True)
        done.write_text("\n".join(pins))
    return str(folder / "bin" / "python")
