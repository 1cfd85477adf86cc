"""Make the provider bindings fast to import: only what the stacks use is loaded.

Importing any module of a bindings package runs the package's `__init__`, which imports all of its ~1,470
modules, and the Node process behind them loads as many of its own. Both are made lazy here, with no change
to what is synthesized: `make bench-synth` compares. It needs to come before any other import of cdktf; after
one, everything still works, slowly.
"""

import gc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PRELOAD: Final = Path(__file__).with_name("lazy_index.cjs")


@contextmanager
def fast_imports(*packages: str) -> Generator[None]:
    """Import modules of bindings packages, and cdktf, the fast way.

    Raises:
        ModuleNotFoundError: a package is not installed.
    """
    for package in packages:
        _skip_init(package)
    # Node 20 still runs jsii; its end-of-life banner would cover the output of every command.
    os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
    own = os.environ.get("NODE_OPTIONS")
    path = str(_PRELOAD).replace("\\", "\\\\").replace('"', '\\"')
    os.environ["NODE_OPTIONS"] = f'{own or ""} --require="{path}"'.strip()
    collecting = gc.isenabled()
    gc.disable()  # thousands of new classes with no garbage among them: the search takes an eighth longer
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        if own is None:
            del os.environ["NODE_OPTIONS"]
        else:
            os.environ["NODE_OPTIONS"] = own


def _skip_init(package: str) -> None:
    """Let modules of a package be imported without running its `__init__`."""
    if package in sys.modules:
        return
    found = importlib.util.find_spec(package)
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package {package}: run `make install`", name=package)
    spec = importlib.machinery.ModuleSpec(package, loader=None, is_package=True)
    spec.submodule_search_locations = found.submodule_search_locations
    sys.modules[package] = importlib.util.module_from_spec(spec)
