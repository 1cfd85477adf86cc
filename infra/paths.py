"""Folders of this checkout, and of what it uses."""

from __future__ import annotations  # `scripts/laptop/install.py` imports it, on whatever Python there is

import os
import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


def simulator_home() -> Path:
    """The folder of the simulated cloud: SIMULATOR_HOME, or `.local` of this checkout."""
    return Path(os.environ.get("SIMULATOR_HOME") or ROOT / ".local").resolve()


def cloud_sdk() -> Path | None:
    """The folder of gcloud: CLOUDSDK_ROOT_DIR, or the one that has its program and the Pub/Sub emulator.

    None if only gcloud knows, because its program is a wrapper: asking takes half a second of CPU.
    """
    if root := os.environ.get("CLOUDSDK_ROOT_DIR"):
        return Path(root)
    folder = Path(shutil.which("gcloud") or "/").resolve().parent.parent
    return folder if (folder / "platform" / "pubsub-emulator").is_dir() else None
