"""Keeps the logs of processes small that run for weeks and write to files of their own."""

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 10_000_000
_CHECK_SECONDS: Final = 10.0


def rotate(folder: Path) -> None:
    """Move what is in the large logs below a folder to `<name>.log.1`. Lines written meanwhile may be lost.

    Who writes them appends.
    """
    for log in folder.rglob("*.log"):
        with contextlib.suppress(FileNotFoundError):  # its process may remove it
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
