"""Checks of a configuration beyond its schema: values that the documentation enumerates."""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tf.gen import tfplugin_pb2 as pb

from infra.simulator.resources import Values
from infra.simulator.values import Path, is_set, is_unknown, items

_ENUM: Final = re.compile(r'Possible values: (\["[^\]]*"\])')


@dataclass(frozen=True)
class Fault:
    """A value that is not among the allowed ones."""

    path: Path
    value: Any
    allowed: tuple[str, ...]

    def __str__(self) -> str:
        """One sentence for people."""
        return f"{json.dumps(self.value)} is not one of {', '.join(map(json.dumps, self.allowed))}."


@functools.cache
def _allowed(documentation: str) -> tuple[str, ...]:
    found = _ENUM.search(documentation)
    return tuple(json.loads(found[1])) if found else ()


def faults(block: pb.Schema.Block, config: Values, at: Path = ()) -> Iterator[Fault]:
    """Values of a configuration outside the enumeration in their argument's documentation.

    An empty text counts as absent, as it does for the real provider.
    """
    for attribute in block.attributes:
        value = config[attribute.name]
        if value is None or not (allowed := _allowed(attribute.description)):
            continue
        for each in value if isinstance(value, list) else [value]:
            if not is_unknown(each) and each not in ("", *allowed):
                yield Fault((*at, attribute.name), each, allowed)
    for nested in block.block_types:
        value = config[nested.type_name]
        for index, each in enumerate(items(value)):
            here: Path = (*at, nested.type_name)
            for fault in faults(nested.block, each, (*here, index) if isinstance(value, list) else here):
                # An element of a set has no index to point at.
                yield Fault(here, fault.value, fault.allowed) if is_set(nested) else fault
