"""Values that Terraform and a provider exchange, and functions to walk them along a schema."""

from typing import Any, Final

import msgpack
from tf.gen import tfplugin_pb2 as pb

from infra.simulator.facts import Block
from infra.simulator.resources import Values

UNKNOWN: Final = msgpack.ExtType(0, b"\x00")
"""A value that is known only after an apply."""

Path = tuple[str | int, ...]
"""Path of a value: names of attributes and blocks, and indices of nested blocks."""


def is_unknown(value: Any) -> bool:
    """Whether a value itself is unknown; a value inside it may still be."""
    return isinstance(value, msgpack.ExtType)


def decode(value: pb.DynamicValue) -> Any:
    """The Python form of a value: dicts, lists, str, int, float, bool, None, or unknown."""
    return msgpack.unpackb(value.msgpack, raw=False, strict_map_key=False)


def encode(value: Any) -> pb.DynamicValue:
    """The inverse of `decode`."""
    return pb.DynamicValue(msgpack=msgpack.packb(value))


def attribute_path(path: Path) -> pb.AttributePath:
    """A path in the form of Terraform's diagnostics and plans."""
    return pb.AttributePath(
        steps=[
            pb.AttributePath.Step(attribute_name=step)
            if isinstance(step, str)
            else pb.AttributePath.Step(element_key_int=step)
            for step in path
        ]
    )


def items(value: Any) -> list[Values]:
    """The nested blocks under one name, for every kind of nesting; none if the value is null or unknown."""
    if value is None or is_unknown(value):
        return []
    return value if isinstance(value, list) else [value]


def conform(values: Values, block: Block) -> Values:
    """Values with the attributes and blocks of a type; a state may be of another version of the provider."""
    result: Values = {name: values.get(name) for name in block.attributes}
    for name, nested in block.blocks.items():
        value = values.get(name)
        if isinstance(value, list):
            result[name] = [conform(each, nested.block) for each in items(value)]
        else:
            result[name] = conform(value, nested.block) if isinstance(value, dict) else None
    return result
