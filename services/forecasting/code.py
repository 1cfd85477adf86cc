"""The version of the training code: a digest of its sources and of the libraries that it imports."""

import hashlib
import sys
from functools import cache
from importlib import metadata
from modulefinder import ModuleFinder
from pathlib import Path

_ROOT = Path(__file__).parents[2]


@cache
def code_version(module: str) -> str:
    """SHA-256 of a module, of every module of `services` that it imports, and of the libraries' versions."""
    sources, libraries = imports(module)
    digest = hashlib.sha256()
    for file in sorted(sources):
        digest.update(file.relative_to(_ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    distributions = metadata.packages_distributions()
    for name in sorted({each for library in libraries for each in distributions.get(library, [])}):
        digest.update(f"{name} {metadata.version(name)}\n".encode())
    return digest.hexdigest()


def imports(module: str) -> tuple[set[Path], set[str]]:
    """Sources of a module and of the modules of `services` that it imports; names of the libraries."""
    finder = ModuleFinder([str(_ROOT)])  # where libraries are not found
    finder.import_hook(module)
    sources = {Path(file) for each in finder.modules.values() if (file := vars(each)["__file__"])}
    return sources, {name.partition(".")[0] for name in finder.any_missing()} - sys.stdlib_module_names
