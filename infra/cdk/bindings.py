"""Make cdktf and the provider bindings fast to import, with no change to what is synthesized.

Three things make imports slow. Importing any module of a bindings package runs the package's `__init__`,
which imports all of its ~1,470 modules. The Node process behind them loads as many modules of its own. And
the needed modules have tens of thousands of annotations, which are evaluated at import to check types at run
time. This module makes the first two lazy and skips the third: the type checker and Node check types as well.
`make bench-synth` compares. It must run before any other import of cdktf; afterwards imports work, but
slowly, and lists take no dicts.
"""

import __future__

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import types
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_PRELOAD: Final = Path(__file__).with_name("lazy_index.cjs")

_LIST_OF_BLOCKS: Final = re.compile(r"Sequence\[typing\.Union\[[^\[]*?(\w+)\W*, typing\.Dict\[")
"""An annotation in the bindings, as text or evaluated: the class whose dicts a list may have."""


@contextmanager
def fast_imports(*packages: str) -> Generator[None]:
    """Import cdktf, and modules of bindings packages, the fast way.

    Raises:
        ModuleNotFoundError: a package is not installed.
    """
    for package in packages:
        _skip_init(package)
    # Stays for the life of the process: modules of resource types are imported on first use.
    sys.meta_path.insert(0, _Finder(("cdktf", "constructs", *packages)))
    # jsii prints an end-of-life banner on Node 20 with every command.
    os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
    own = os.environ.get("NODE_OPTIONS")
    path = str(_PRELOAD).replace("\\", "\\\\").replace('"', '\\"')
    os.environ["NODE_OPTIONS"] = f'{own or ""} --require="{path}"'.strip()
    collecting = gc.isenabled()
    gc.disable()  # thousands of new classes and no garbage: collecting costs an eighth of the time
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
    """Make a package lazy: its `__init__` does not run, its modules are imported on first use."""
    if package in sys.modules:
        return
    found = importlib.util.find_spec(package)
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package {package}: run `make install`", name=package)
    spec = importlib.machinery.ModuleSpec(package, loader=None, is_package=True)
    spec.submodule_search_locations = found.submodule_search_locations
    module = importlib.util.module_from_spec(spec)

    def import_submodule(name: str) -> types.ModuleType:
        if name.startswith("__"):
            raise AttributeError(name)  # the import system probes for these and works without them
        return importlib.import_module(f"{package}.{name}")

    module.__dict__["__getattr__"] = import_submodule  # as a module's own `def __getattr__` (PEP 562)
    sys.modules[package] = module


def with_dicts_in_lists(data_type: Callable[..., Any]) -> Callable[..., Any]:
    """The decorator of blocks, which then accept dicts wherever their annotations do.

    By itself jsii makes a block of a dict, unless the dict is in a list: of that it drops all arguments whose
    names have two words, and says nothing.
    """

    def decorator(**arguments: Any) -> Callable[[Any], Any]:
        def decorate(block: Any) -> Any:
            init = block.__init__

            def convert(self: Any, **values: Any) -> None:
                for name, value in values.items():
                    if isinstance(value, list | tuple) and (
                        of := _LIST_OF_BLOCKS.search(str(init.__annotations__.get(name)))
                    ):
                        element = init.__globals__[of[1]]
                        values[name] = [element(**each) if isinstance(each, dict) else each for each in value]
                init(self, **values)

            block.__init__ = convert
            return data_type(**arguments)(block)

        return decorate

    return decorator


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles modules like `python -O`, with annotations as text, into bytecode files of its own."""

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> types.CodeType:
        postponed = __future__.annotations.compiler_flag
        return compile(data, path, "exec", flags=postponed, dont_inherit=True, optimize=1)

    def get_data(self, path: str) -> bytes:
        return super().get_data(self._own_bytecode(path))

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        super().set_data(self._own_bytecode(path), data, _mode=_mode)

    @staticmethod
    def _own_bytecode(path: str) -> str:
        stem, suffix = os.path.splitext(path)  # noqa: PTH122 -- importlib speaks text
        return f"{stem}.bindings{suffix}" if suffix == ".pyc" else path


class _Finder(importlib.abc.MetaPathFinder):
    """Loads the modules of some packages with `_Loader`."""

    def __init__(self, packages: Sequence[str]):
        self._packages = frozenset(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self._packages:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec
