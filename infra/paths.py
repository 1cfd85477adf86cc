"""Folders of this checkout."""

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


def simulator_home() -> Path:
    """The folder of the simulated cloud: SIMULATOR_HOME, or `.local` of this checkout."""
    return Path(os.environ.get("SIMULATOR_HOME") or ROOT / ".local").resolve()
