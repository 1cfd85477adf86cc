"""The version of the training code: a digest of its sources and of the libraries that it imports."""

import ast
import hashlib
import sys
from functools import cache
from importlib import metadata
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
    sources: set[Path] = set()
    libraries: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if top != "services":
            libraries |= {top} - sys.stdlib_module_names
            continue
        folder = _ROOT.joinpath(*name.split("."))
        file = next(
            (each for each in (folder.with_suffix(".py"), folder / "__init__.py") if each.exists()), None
        )
        # No file: a name in a module, which is in the list itself.
        if file is None or file in sources:
            continue
        sources.add(file)
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return sources, libraries
