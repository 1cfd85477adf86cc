"""Synthesis of one environment, with the lazy imports of `infra/cdk` and with plain imports.

Both run the same program on the same packages, in turn. CPU seconds and memory are those of Python and of the
Node process that it starts; bytecode exists for both. Their outputs must be identical.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console

from scripts.bench import report
from scripts.paths import BENCH, ROOT

MEBIBYTE: Final = 2**20

# `infra.cdk` comes too late to make these packages lazy, and Node runs without the preload.
PLAIN: Final = """\
import runpy
import cdktf
import cdktf_cdktf_provider_google
import cdktf_cdktf_provider_kubernetes
runpy.run_module("stacks", run_name="__main__")
"""
OURS: Final = "lazy imports"
PEER: Final = "plain imports"
COMMANDS: Final = {OURS: ("-m", "stacks"), PEER: ("-c", PLAIN)}


@dataclass(frozen=True)
class Run:
    """Cost of a synthesis: CPU and elapsed seconds, peak resident memory in MiB."""

    cpu_seconds: float
    elapsed_seconds: float
    peak_mib: float


def synthesize(command: tuple[str, ...], environment: str, folder: Path) -> tuple[Run, str]:
    """Run one synthesis; returns its cost and a hash of its output.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    variables = {
        **os.environ,
        "CDKTF_OUTDIR": str(folder / "out"),
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
        "PLATFORM_ENV": environment,
        "PYTHONPYCACHEPREFIX": str(BENCH / "pycache"),
        "SIMULATOR_HOME": str(folder / "home"),
        "TMPDIR": str(folder),  # jsii leaves files behind
    }
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.monotonic()
    with subprocess.Popen((sys.executable, *command), cwd=ROOT, env=variables) as process:
        peak = 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, resident(process.pid))
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
    elapsed = time.monotonic() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    # The usage of a process includes that of the children it waited for.
    run = Run(usage.ru_utime + usage.ru_stime, elapsed, peak / MEBIBYTE)
    return run, fingerprint(folder / "out")


def resident(pid: int) -> int:
    """Resident memory of a process and its children, in bytes."""
    try:
        process = psutil.Process(pid)
        return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def fingerprint(folder: Path) -> str:
    """A hash over the synthesized files."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.json")):
        digest.update(
            f"{file.relative_to(folder)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def main() -> int:
    """Measure, print and write the result; 1 if the outputs differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", default="prod")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    runs: dict[str, list[Run]] = {name: [] for name in COMMANDS}
    fingerprints: set[str] = set()
    for round_ in range(options.rounds + 1):  # the first warms up
        for name, command in COMMANDS.items():
            with tempfile.TemporaryDirectory() as folder:
                run, wrote = synthesize(command, options.environment, Path(folder))
            fingerprints.add(wrote)
            if round_:
                runs[name].append(run)
    if len(fingerprints) > 1:
        print("lazy and plain imports synthesize different stacks", file=sys.stderr)
        return 1

    medians = {name: report.median(each) for name, each in runs.items()}
    ours, peer = medians[OURS], medians[PEER]
    title = f"Synthesis of {options.environment}, median of {options.rounds}"
    table = report.table(title, "CPU s", "elapsed s", "peak MiB")
    for name, run in medians.items():
        table.add_row(name, f"{run.cpu_seconds:.2f}", f"{run.elapsed_seconds:.2f}", f"{run.peak_mib:.0f}")
    table.add_row(
        "ratio",
        f"{peer.cpu_seconds / ours.cpu_seconds:.1f}",
        f"{peer.elapsed_seconds / ours.elapsed_seconds:.1f}",
        f"{peer.peak_mib / ours.peak_mib:.1f}",
    )
    Console().print(table)
    report.write(
        "synth",
        "CPU seconds to synthesize one environment",
        ours=asdict(ours),
        peers={PEER: asdict(peer)},
        ratios={PEER: peer.cpu_seconds / ours.cpu_seconds},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
