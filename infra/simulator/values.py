"""Values on the wire between Terraform and a provider, and how to walk them along a schema."""

import json
from collections.abc import Iterable
from typing import Any, Final

import msgpack
from tf.gen import tfplugin_pb2 as pb

from infra.simulator.resources import Values

UNKNOWN: Final = msgpack.ExtType(0, b"\x00")
"""A value that is known only after apply."""

Path = tuple[str | int, ...]
"""Where a value is: attribute and block names, and indices of nested blocks."""


def is_unknown(value: Any) -> bool:
    """Whether a value itself, not one inside it, is unknown."""
    return isinstance(value, msgpack.ExtType)


def decode(value: pb.DynamicValue) -> Any:
    """The Python form of a value: dicts, lists, str, int, float, bool, None, or unknown."""
    return msgpack.unpackb(value.msgpack, raw=False, strict_map_key=False)


def encode(value: Any) -> pb.DynamicValue:
    """The inverse of `decode`."""
    return pb.DynamicValue(msgpack=msgpack.packb(value))


def attribute_path(path: Path) -> pb.AttributePath:
    """A path as Terraform's diagnostics and plans take it."""
    return pb.AttributePath(
        steps=[
            pb.AttributePath.Step(attribute_name=step)
            if isinstance(step, str)
            else pb.AttributePath.Step(element_key_int=step)
            for step in path
        ]
    )


def is_set(block: pb.Schema.NestedBlock) -> bool:
    """Whether the nested blocks have no order; Terraform cannot point at one of them by index."""
    return block.nesting == pb.Schema.NestedBlock.SET


def items(value: Any) -> list[Values]:
    """The nested blocks under one name, however the schema nests them; none if they are null or unknown."""
    if value is None or is_unknown(value):
        return []
    return value if isinstance(value, list) else [value]


def conform(values: Values, block: pb.Schema.Block) -> Values:
    """Only what a schema knows: state may be of an earlier version of the bindings."""
    result: Values = {each.name: values.get(each.name) for each in block.attributes}
    for nested in block.block_types:
        value = values.get(nested.type_name)
        if isinstance(value, list):
            result[nested.type_name] = [conform(each, nested.block) for each in _dicts(value)]
        else:
            result[nested.type_name] = conform(value, nested.block) if isinstance(value, dict) else None
    return result


def _dicts(value: Iterable[Any]) -> Iterable[Values]:
    return (each for each in value if isinstance(each, dict))


def fingerprint(value: Any) -> str:
    """A text that is equal for equal values, whatever the order of keys."""
    return json.dumps(value, sort_keys=True, default=repr)
