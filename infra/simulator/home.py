"""Where a simulated cloud lives on disk, and how its files are written.

Everything is below one folder, `SIMULATOR_HOME` (default `.local` of this repository): state of Terraform,
addresses of the emulators, records and logs of processes, the emulators' data.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
VENVS: Final = REPOSITORY / "build" / "venvs"


def home() -> Path:
    """The folder of this simulated cloud; made when absent."""
    folder = Path(os.environ.get("SIMULATOR_HOME") or REPOSITORY / ".local").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def folder(name: str) -> Path:
    """A folder below `home()`; made when absent."""
    path = home() / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_atomic(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, or one after a crash, sees the old text or the new one.

    It need not outlast the machine, since no process that it tells of does: a sync may take many seconds.
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
    """Hold a lock of this simulated cloud; waits for other processes and threads.

    The kernel frees the lock when its holder ends, however it ends.
    """
    with (home() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
