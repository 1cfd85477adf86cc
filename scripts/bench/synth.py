"""Synthesis of one environment, with the lazy imports of `infra/cdk` and with plain imports.

Both run the same program on the same packages, in turn. CPU seconds are those of Python and of the Node
process that it starts, memory that of the larger of the two; bytecode exists for both. Their outputs must
be identical.
"""

import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from scripts.bench import harness
from scripts.bench.harness import Usage
from scripts.command import command, command_parser
from scripts.paths import BENCH

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
ENVIRONMENT: Final = "prod"
ROUNDS: Final = 3


def synthesize(command: tuple[str, ...], folder: Path) -> tuple[Usage, str]:
    """Run one synthesis; returns its cost and a hash of its output."""
    variables = {
        **os.environ,
        "CDKTF_OUTDIR": str(folder / "out"),
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
        "PLATFORM_ENV": ENVIRONMENT,
        "PYTHONPYCACHEPREFIX": str(BENCH / "pycache"),
        "SIMULATOR_HOME": str(folder / "home"),
        "TMPDIR": str(folder),  # jsii leaves files behind
    }
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    run = harness.measure((sys.executable, *command), variables)
    return run, fingerprint(folder / "out")


def fingerprint(folder: Path) -> str:
    """A hash over the synthesized files."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.json")):
        digest.update(
            f"{file.relative_to(folder)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


@command("bench-synth")
def main() -> int:
    """Measure, print and write the result; 1 if the outputs differ."""
    command_parser(__doc__).parse_args()

    fingerprints: set[str] = set()

    def measure(command: tuple[str, ...]) -> Usage:
        with tempfile.TemporaryDirectory() as folder:
            run, wrote = synthesize(command, Path(folder))
        fingerprints.add(wrote)
        return run

    measures = {name: functools.partial(measure, command) for name, command in COMMANDS.items()}
    medians = harness.interleave(measures, ROUNDS, warm_up=True)
    if len(fingerprints) > 1:
        print("lazy and plain imports synthesize different stacks", file=sys.stderr)
        return 1
    title = f"Synthesis of {ENVIRONMENT}, median of {ROUNDS}"
    harness.publish("synth", title, medians, ours=OURS)
    return 0
