"""The folder of a simulated cloud, with functions that write its files safely and keep its logs small.

The folder is `SIMULATOR_HOME` (default: `.local` of this repository). It holds Terraform's state, the records
and logs of processes, and the data of the emulators.
"""

import contextlib
import fcntl
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

from infra.paths import ROOT, simulator_home

VENVS: Final = ROOT / "build" / "venvs"
_MACHINE: Final = platform.machine()
PLATFORM: Final = platform.system().lower(), {"x86_64": "amd64", "aarch64": "arm64"}.get(_MACHINE, _MACHINE)
"""Operating system and architecture, as Go calls them."""
MAX_LOG_BYTES: Final = 10_000_000
_CHECK_SECONDS: Final = 10.0


def home() -> Path:
    """The folder of this simulated cloud, created if it does not exist."""
    folder = simulator_home()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def folder(name: str) -> Path:
    """A folder below `home()`, created if it does not exist."""
    path = home() / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_atomic(path: Path, text: str) -> None:
    """Replace a file atomically: after a crash of this process, it has the old or the new text.

    There is no fsync, which may take seconds: after a crash of the machine, no process is left to record.
    """
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(text)
            file.close()
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise


@contextlib.contextmanager
def locked(name: str) -> Generator[None]:
    """Hold a lock across processes and threads; the kernel releases it when its holder ends."""
    with (home() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def rotate_logs(folder: Path) -> None:
    """Move what is in large logs below a folder, to which processes append, to `<name>.log.1`."""
    for log in folder.rglob("*.log"):
        with contextlib.suppress(FileNotFoundError):  # its process may remove it
            if log.stat().st_size > MAX_LOG_BYTES:
                shutil.copyfile(log, log.with_suffix(".log.1"))  # lines written meanwhile may be lost
                os.truncate(log, 0)


def keep_logs_small(folder: Path) -> None:
    """Rotate the logs of a folder, written by processes that run for weeks, as long as this process runs."""

    def run() -> None:
        while True:
            rotate_logs(folder)
            time.sleep(_CHECK_SECONDS)

    threading.Thread(target=run, daemon=True).start()
