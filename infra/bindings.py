"""Make the provider bindings fast to import: only what the stacks use is loaded.

Importing any module of a bindings package runs the package's `__init__`, which imports all of its ~1,470
modules, and the Node process behind them loads as many of its own. Both are made lazy here, with no change to
what is synthesized. It works for whoever imports this module before cdktf or a bindings package.
"""

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PRELOAD: Final = Path(__file__).with_name("lazy_index.cjs")


def skip_package_init(package: str) -> None:
    """Let submodules of a package be imported without running its `__init__`.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    if package in sys.modules:
        return
    found = importlib.util.find_spec(package)
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package {package}; install the dependency group infra", name=package)
    spec = importlib.machinery.ModuleSpec(package, loader=None, is_package=True)
    spec.submodule_search_locations = found.submodule_search_locations
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module


@contextmanager
def node_preload() -> Generator[None]:
    """Start Node processes with the lazy index, on top of the user's own `NODE_OPTIONS`."""
    # Node 20 still runs jsii; its end-of-life banner would cover the output of every command.
    os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
    own = os.environ.get("NODE_OPTIONS")
    path = str(_PRELOAD).replace("\\", "\\\\").replace('"', '\\"')
    os.environ["NODE_OPTIONS"] = f'{own or ""} --require="{path}"'.strip()
    try:
        yield
    finally:
        if own is None:
            del os.environ["NODE_OPTIONS"]
        else:
            os.environ["NODE_OPTIONS"] = own
