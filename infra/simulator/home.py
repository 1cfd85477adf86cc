"""The folder of a simulated cloud, and functions that write its files safely.

The folder is `SIMULATOR_HOME` (default: `.local` of this repository). It holds Terraform's state, the records
and logs of processes, and the data of the emulators.
"""

import contextlib
import fcntl
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

from infra.paths import ROOT, simulator_home

REPOSITORY: Final = ROOT
VENVS: Final = REPOSITORY / "build" / "venvs"


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
    """Hold a lock of this simulated cloud, across processes and threads.

    The kernel releases the lock when its holder ends, also by a signal.
    """
    with (home() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
