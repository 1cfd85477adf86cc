"""Detached processes, which outlive the command that starts them; later commands find and stop them.

A record per process under `processes/` holds its pid and creation time (a pid alone is reused). Every process
also has an environment variable with the names of its simulated cloud and of itself. Descendants inherit it.
So a process is found even without a record (its starter was killed), and its descendants after its death.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import psutil

from infra.paths import ROOT
from infra.simulator import SimulatorError
from infra.simulator.home import VENVS, folder, home, write_atomic

MARKER: Final = "SIMULATOR_PROCESS"
LOG_TAIL: Final = 20
# Variables of the caller that a process inherits. Any other would make it depend on the caller: settings of
# Terraform and cdktf, Python paths, proxies, credentials.
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME")
# Linux derives creation times from the wall clock at boot, which the kernel corrects sometimes.
_CLOCK_CORRECTION_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.1
_KILLED_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Process:
    """A process that was started, dead or alive, with labels: facts that its owner records about it."""

    name: str  # unique in this simulated cloud, `<kind>.<what>`
    pid: int
    create_time: float  # seconds since the epoch
    log: str
    grace_seconds: float  # between SIGTERM and SIGKILL when it is stopped
    labels: dict[str, str]

    @property
    def alive(self) -> bool:
        """Whether this process runs, and is neither a zombie nor another process with its pid."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.create_time) < _CLOCK_CORRECTION_SECONDS and runs(process)
        except psutil.NoSuchProcess:
            return False

    def listens_on(self, port: int) -> bool:
        """Whether it or a descendant holds the TCP port."""
        try:
            process = psutil.Process(self.pid)
            return any(
                connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
                for member in (process, *process.children(recursive=True))
                for connection in member.net_connections("tcp")
            )
        except psutil.NoSuchProcess:
            return False

    def tail(self) -> str:
        """A sentence with the end of its log."""
        lines = Path(self.log).read_text(errors="replace").splitlines()[-LOG_TAIL:]
        return "\n    ".join((f"The end of its log ({self.log}):", *(lines or ["(it printed nothing)"])))


def base_environment() -> dict[str, str]:
    """Environment variables of every process."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | {
        # As in a container: no credentials or settings of the user reach a simulated cloud.
        "HOME": str(folder("home")),
        "SIMULATOR_HOME": str(home()),
        "PYTHONUNBUFFERED": "1",
    }


def module(name: str, *arguments: str) -> list[str]:
    """Command line of a module in the simulator's Python environment."""
    return [str(VENVS / "simulator" / "bin" / "python"), "-m", name, *arguments]


def start(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    grace_seconds: float,
    labels: Mapping[str, str] | None = None,
) -> Process:
    """Start a process detached from the caller, in the repository's folder, and record it.

    Its output goes to `logs/<what>.log`, and older output to `<what>.log.1`: see `home.rotate_logs`.

    Raises:
        SimulatorError: the program cannot be run.
    """
    log = folder("logs") / f"{name.partition('.')[2]}.log"
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:  # for appending: `rotate_logs` empties it meanwhile
        try:
            child = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environment, MARKER: _marker(name)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise SimulatorError(f"{name}: cannot run {command[0]!r}: {error.strerror}") from error
    try:
        create_time = psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:
        create_time = 0.0
    process = Process(name, child.pid, create_time, str(log), grace_seconds, dict(labels or {}))
    return relabel(process, process.labels)


def relabel(process: Process, labels: Mapping[str, str]) -> Process:
    """Record a process with these labels."""
    process = replace(process, labels=dict(labels))
    write_atomic(_record(process.name), json.dumps(asdict(process), indent=1))
    return process


def wait_until(ready: Callable[[], bool], process: Process, *, seconds: float) -> None:
    """Wait until `ready()`; SimulatorError if the process ends or is not ready in time. It is not stopped."""
    deadline = time.monotonic() + seconds
    while not ready():
        if not process.alive:
            trouble = "ended before it was ready"
        elif time.monotonic() > deadline:
            trouble = f"was not ready within {seconds:g} s"
        else:
            time.sleep(_POLL_SECONDS)
            continue
        raise SimulatorError(f"{process.name} {trouble}. {process.tail()}")


def find(name: str) -> Process | None:
    """The recorded process of this name; a damaged record counts as none."""
    try:
        return Process(**json.loads(_record(name).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def recorded() -> list[Process]:
    """All recorded processes, sorted by name."""
    names = sorted(path.name.removesuffix(".json") for path in folder("processes").glob("*.json"))
    return [process for name in names if (process := find(name))]


def stop(names: Iterable[str]) -> None:
    """Stop those that run, together, with their descendants: SIGTERM, then SIGKILL after the grace period."""
    names = list(names)
    alive = [process for name in names if (process := find(name)) and process.alive]
    for process in alive:
        _signal(psutil.Process(process.pid), signal.SIGTERM)
    begin = time.monotonic()
    for process in alive:
        while process.alive and time.monotonic() < begin + process.grace_seconds:
            time.sleep(0.02)
    for name in names:
        remaining = [process for process, marker in _markers() if marker == _marker(name)]
        for straggler in remaining:
            _signal(straggler, signal.SIGKILL)
        deadline = time.monotonic() + _KILLED_SECONDS
        while any(map(runs, remaining)) and time.monotonic() < deadline:
            time.sleep(0.02)
        _record(name).unlink(missing_ok=True)


def runs(process: psutil.Process) -> bool:
    """Whether a process runs. Once it is killed, one thread may be a zombie while others hold its ports."""
    try:
        return process.is_running() and (
            process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
        )
    except psutil.NoSuchProcess:
        return False


def unrecorded() -> list[str]:
    """Names of processes of this simulated cloud that run without a record (their starter was killed)."""
    prefix = _marker("")
    running = {marker.removeprefix(prefix) for _, marker in _markers() if marker.startswith(prefix)}
    return sorted(running - {process.name for process in recorded()})


def _record(name: str) -> Path:
    return folder("processes") / f"{name}.json"


def _marker(name: str) -> str:
    return f"{home()}:{name}"


def _markers() -> Iterator[tuple[psutil.Process, str]]:
    for process in psutil.process_iter():
        try:
            if (marker := process.environ().get(MARKER)) and process.status() != psutil.STATUS_ZOMBIE:
                yield process, marker
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
