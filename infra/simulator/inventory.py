"""What exists in the simulated cloud: the values of every resource that was applied, whichever stack has it.

A provider process knows the state of one stack only; what Google refuses often depends on another one's. One
file for each resource that has an id, below `resources/<type>/`, holds its values in Terraform's names.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from infra.simulator.home import folder, write_atomic
from infra.simulator.resources import Values


def record(type_name: str, values: Values) -> None:
    """Remember a resource, or its new values."""
    if not values.get("id"):  # a kubernetes_manifest
        return
    text = json.dumps(values, sort_keys=True)
    file = _path(type_name, values["id"])
    if not file.exists() or file.read_text() != text:
        write_atomic(file, text)


def forget(type_name: str, values: Values) -> None:
    """The resource is gone; fine if it was unknown."""
    if values.get("id"):
        _path(type_name, values["id"]).unlink(missing_ok=True)


def all_of(type_name: str) -> Iterator[Values]:
    """The resources of a type."""
    for file in sorted(folder(f"resources/{type_name}").glob("*.json")):
        try:
            yield json.loads(file.read_text())
        except FileNotFoundError:  # destroyed at this moment
            continue


def exists(type_name: str, id_: str) -> bool:
    """Whether there is a resource with this id."""
    return _path(type_name, id_).exists()


def _path(type_name: str, id_: str) -> Path:
    # An id may be longer than the name of a file.
    return folder(f"resources/{type_name}") / f"{hashlib.sha256(id_.encode()).hexdigest()}.json"
