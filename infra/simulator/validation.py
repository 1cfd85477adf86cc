"""Checks of a configuration that Terraform leaves to the provider."""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tf.gen import tfplugin_pb2 as pb

from infra.simulator.resources import Values
from infra.simulator.values import Path, is_set, is_unknown, items

_ENUMERATION: Final = re.compile(r'Possible values: (\["[^\]]*"\])')


@dataclass(frozen=True)
class Fault:
    """Something wrong with a configuration, and where."""

    path: Path
    summary: str
    detail: str


@functools.cache
def _allowed(documentation: str) -> tuple[str, ...]:
    """The values that an argument's documentation enumerates; none if it does not."""
    found = _ENUMERATION.search(documentation)
    return tuple(json.loads(found[1])) if found else ()


def faults(block: pb.Schema.Block, config: Values, at: Path = ()) -> Iterator[Fault]:
    """Read-only attributes that are set, and values outside the enumeration of their documentation.

    An empty text counts as absent, as it does for the real provider.
    """
    for attribute in block.attributes:
        value, path = config[attribute.name], (*at, attribute.name)
        if value is None:
            continue
        if not attribute.optional and not attribute.required:
            detail = f"Only the provider knows {attribute.name}: leave it out."
            yield Fault(path, "Value for read-only attribute", detail)
        elif allowed := _allowed(attribute.description):
            yield from _not_allowed(path, value if isinstance(value, list) else [value], allowed)
    for nested in block.block_types:
        value, path = config[nested.type_name], (*at, nested.type_name)
        for index, each in enumerate(items(value)):
            for fault in faults(nested.block, each, (*path, index) if isinstance(value, list) else path):
                # An element of a set has no index to point at.
                yield Fault(path, fault.summary, fault.detail) if is_set(nested) else fault


def _not_allowed(path: Path, values: list[Any], allowed: tuple[str, ...]) -> Iterator[Fault]:
    for value in values:
        if not is_unknown(value) and value not in ("", *allowed):
            choice = ", ".join(map(json.dumps, allowed))
            yield Fault(
                path, f"Unexpected value of {path[-1]}", f"{json.dumps(value)} is not one of {choice}."
            )
