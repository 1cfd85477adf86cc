"""Beam's `boot` and its job server Prism, which `make test-images` builds from Beam's Go modules.

Tests skip where it was not done, or where Go is absent.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.conftest import REPOSITORY

_PACKAGES: Final = {"boot": "python/container", "prism": "go/cmd/prism"}
_REQUIREMENTS: Final = (REPOSITORY / "services" / "batch" / "requirements.in").read_text()
[_VERSION] = re.findall(r"^apache-beam==(\S+)$", _REQUIREMENTS, re.MULTILINE)
_FOLDER: Final = REPOSITORY / "build" / "beam" / _VERSION


def program(name: str) -> Path | None:
    """The program `boot` or `prism`, if it was built."""
    file = _FOLDER / _PACKAGES[name].rpartition("/")[2]
    return file if file.exists() else None


def build() -> None:
    """Build both with the version of Beam that the batch image has, unless that was done."""
    if all(program(name) for name in _PACKAGES):
        return
    if shutil.which("go") is None:
        sys.exit("Go is absent: tests of Beam's workers skip (https://go.dev/doc/install)")
    packages = [f"github.com/apache/beam/sdks/v2/{package}@v{_VERSION}" for package in _PACKAGES.values()]
    environment = os.environ | {"GOBIN": str(_FOLDER), "CGO_ENABLED": "0"}
    subprocess.run(["go", "install", *packages], env=environment, check=True)


if __name__ == "__main__":
    build()
