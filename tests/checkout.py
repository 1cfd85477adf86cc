"""A copy of this repository: the files that git tracks or would track, as they are in the working tree."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def copy_checkout(folder: Path) -> None:
    """Copy the repository's files into a folder. What `make install` makes is not among them."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listing.stdout.decode().split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def link_installed(folder: Path) -> None:
    """Use this checkout's installed packages in a copy. Environments added to the copy stay there."""
    for name in (".venv", "node_modules"):
        (folder / name).symlink_to(ROOT / name)
    for installed in [*(ROOT / "build").iterdir(), *(ROOT / "build" / "venvs").iterdir()]:
        if installed.is_dir() and installed.name != "venvs":
            target = folder / installed.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(installed)
