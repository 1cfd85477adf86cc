"""The inventory of the simulated cloud: the values of the applied resources of all stacks.

A provider process knows the state of one stack, but whether Google accepts a change often depends on others.
Each resource with an id has a file below `resources/<type>/` with its values in Terraform's names.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from infra.simulator.home import folder, write_atomic
from infra.simulator.resources import Values


def record(type_name: str, values: Values) -> None:
    """Record a resource or its new values."""
    if not values.get("id"):  # a kubernetes_manifest
        return
    text = json.dumps(values, sort_keys=True)
    file = _path(type_name, values["id"])
    _gone(file).unlink(missing_ok=True)
    if not file.exists() or file.read_text() != text:
        write_atomic(file, text)


def forget(type_name: str, values: Values) -> None:
    """Remove a resource, if it is recorded."""
    if values.get("id"):
        file = _path(type_name, values["id"])
        file.unlink(missing_ok=True)
        _gone(file).unlink(missing_ok=True)


def vanish(type_name: str, id_: str) -> None:
    """Remove a resource that goes with another one; Terraform's state still has it."""
    file = _path(type_name, id_)
    with contextlib.suppress(FileNotFoundError):  # destroyed just now
        file.replace(_gone(file))


def has_vanished(type_name: str, values: Values) -> bool:
    """Whether a resource has gone with another one."""
    return bool(values.get("id")) and _gone(_path(type_name, values["id"])).exists()


def all_of(type_name: str) -> Iterator[Values]:
    """The resources of a type."""
    for file in sorted(folder(f"resources/{type_name}").glob("*.json")):
        try:
            yield json.loads(file.read_text())
        except FileNotFoundError:  # destroyed just now
            continue


def exists(type_name: str, id_: str) -> bool:
    """Whether a resource with this id exists."""
    return _path(type_name, id_).exists()


def _path(type_name: str, id_: str) -> Path:
    # An id may be longer than a file name can be.
    return folder(f"resources/{type_name}") / f"{hashlib.sha256(id_.encode()).hexdigest()}.json"


def _gone(file: Path) -> Path:
    return file.with_suffix(".gone")
