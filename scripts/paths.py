"""Folders of this project that the commands use."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
VENVS: Final = ROOT / "build" / "venvs"
BENCH: Final = ROOT / "build" / "bench"
"""Results of the benchmarks, one JSON file each."""

SIMULATOR: Final = (str(VENVS / "simulator" / "bin" / "python"), "-m", "infra.simulator")
"""The simulator's command line."""
