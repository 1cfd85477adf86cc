"""Checks of a configuration that Terraform leaves to providers."""

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
class Problem:
    """A problem of a configuration, and its path."""

    path: Path
    summary: str
    detail: str


@functools.cache
def _allowed(documentation: str) -> tuple[str, ...]:
    """The allowed values that an argument's documentation lists, if it does."""
    found = _ENUMERATION.search(documentation)
    return tuple(json.loads(found[1])) if found else ()


def problems(block: pb.Schema.Block, config: Values, at: Path = ()) -> Iterator[Problem]:
    """Read-only attributes that are set, and values that their documentation does not list.

    As for the real providers, an empty string counts as absent.
    """
    for attribute in block.attributes:
        value, path = config[attribute.name], (*at, attribute.name)
        if value is None:
            continue
        if not attribute.optional and not attribute.required:
            detail = f"The provider computes {attribute.name}: leave it out."
            yield Problem(path, "Value for read-only attribute", detail)
        elif allowed := _allowed(attribute.description):
            yield from _not_allowed(path, value if isinstance(value, list) else [value], allowed)
    for nested in block.block_types:
        value, path = config[nested.type_name], (*at, nested.type_name)
        for index, each in enumerate(items(value)):
            for problem in problems(nested.block, each, (*path, index) if isinstance(value, list) else path):
                # Elements of a set have no index.
                yield Problem(path, problem.summary, problem.detail) if is_set(nested) else problem


def _not_allowed(path: Path, values: list[Any], allowed: tuple[str, ...]) -> Iterator[Problem]:
    for value in values:
        if not is_unknown(value) and value not in ("", *allowed):
            choice = ", ".join(map(json.dumps, allowed))
            yield Problem(
                path, f"Unexpected value of {path[-1]}", f"{json.dumps(value)} is not one of {choice}."
            )
