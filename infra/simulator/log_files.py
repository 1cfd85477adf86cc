"""Keeps the logs of detached processes small, which run for weeks and write to a file of their own."""

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 10_000_000
_CHECK_SECONDS: Final = 10.0


def rotate(folder: Path) -> None:
    """Move what is in the large logs of a folder to `<name>.log.1`. Lines written meanwhile may be lost."""
    for log in folder.glob("*.log"):
        if log.stat().st_size > MAX_BYTES:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


def rotate_in_background(folder: Path) -> None:
    """Rotate the logs of a folder as long as this process runs."""

    def run() -> None:
        while True:
            rotate(folder)
            time.sleep(_CHECK_SECONDS)

    threading.Thread(target=run, daemon=True).start()
