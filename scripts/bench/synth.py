"""Synthesis of one environment, with the lazy imports of `infra/cdk` and with plain imports.

Both run the same program on the same packages, in turn. CPU seconds are those of Python and of the Node
process that it starts, memory that of the larger of the two; bytecode exists for both. Their outputs must
be identical.
"""

import functools
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from scripts.bench import harness
from scripts.command import CommandError, command
from scripts.paths import BENCH

# `infra.cdk` comes too late to make these packages lazy, and Node runs without the preload.
PLAIN: Final = """\
import runpy
import jsii
bindings = runpy.run_path("infra/cdk/bindings.py")
jsii.data_type = bindings["with_dicts_in_lists"](jsii.data_type)
import cdktf
import cdktf_cdktf_provider_google
import cdktf_cdktf_provider_kubernetes
runpy.run_module("stacks", run_name="__main__")
"""
OURS: Final = "lazy imports"
COMMANDS: Final = {OURS: ("-m", "stacks"), "plain imports": ("-c", PLAIN)}
ENVIRONMENT: Final = "prod"
ROUNDS: Final = 3


def synthesize(command: tuple[str, ...], expected: dict[Path, bytes]) -> harness.Figures:
    """Run one synthesis, whose output is `expected`; the first one fills that in."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        variables = {
            **os.environ,
            "CDKTF_OUTDIR": str(out),
            "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
            "PLATFORM_ENV": ENVIRONMENT,
            "PYTHONPYCACHEPREFIX": str(BENCH / "pycache"),
            "SIMULATOR_HOME": f"{folder}/home",
            "TMPDIR": folder,  # jsii leaves files behind
        }
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        figures = harness.measure((sys.executable, *command), variables)
        wrote = {file.relative_to(out): file.read_bytes() for file in out.rglob("*.json")}
    if wrote != (expected or wrote):
        raise CommandError("lazy and plain imports synthesize different stacks")
    expected |= wrote
    return figures


@command("bench-synth")
def main() -> int:
    """Measure, print and write the result; 1 if the outputs differ."""
    expected: dict[Path, bytes] = {}
    measures = {name: functools.partial(synthesize, words, expected) for name, words in COMMANDS.items()}
    medians = harness.interleave(measures, ROUNDS, warm_up=True)
    harness.publish("synth", f"Synthesis of {ENVIRONMENT}, median of {ROUNDS}", medians, ours=OURS)
    return 0
