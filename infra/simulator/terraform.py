"""What Terraform and a provider exchange: schemas of resource types, and values that follow them.

Schemas are made of facts about the types of the real providers: `provider_facts/` has a file per provider,
with a line of JSON for each type. A process reads only the types of its stack.
"""

import gzip
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path as FilePath
from typing import Any, Final

import msgpack
from tf.gen import tfplugin_pb2 as pb

from infra.simulator.resources import Values

UNKNOWN: Final = msgpack.ExtType(0, b"\x00")  # until an apply

Path = tuple[str | int, ...]
"""Path of a value: names of attributes and blocks, and indices of nested blocks."""

Facts = Mapping[str, Any]
"""Facts about an attribute or block: `type`, `mode`, `default`, `force_new`, `one_of`, ..."""

_NAME: Final = b'{"name":"'
_NESTING: Final = {
    "list": pb.Schema.NestedBlock.LIST,
    "set": pb.Schema.NestedBlock.SET,
    "single": pb.Schema.NestedBlock.SINGLE,
}
_PRIMITIVES: Final = {"int": "number", "float": "number"}


@dataclass(frozen=True)
class Block:
    """A resource type or a block in one: the facts about it as a whole, its attributes and blocks by name."""

    facts: Facts
    attributes: Mapping[str, Facts]
    blocks: Mapping[str, "Block"]

    @property
    def is_set(self) -> bool:
        """Whether there is a set of these blocks, whose elements have no index."""
        return self.facts["type"] == "set"


def is_computed(facts: Facts) -> bool:
    """Whether the provider computes a value that is not configured."""
    return facts["mode"] in ("computed", "optional_computed")


def cty_type(facts: Facts) -> Any:
    """The type in Terraform's JSON notation: "string", ["list", "string"], ["object", {...}], ..."""
    kind: str = facts["type"]
    if kind not in ("list", "set", "map"):
        return _PRIMITIVES.get(kind, kind)
    if members := facts.get("block"):
        return [kind, ["object", {name: cty_type(each) for name, each in members.items()}]]
    element = facts.get("elem", "string")
    return [kind, cty_type({"type": element} if isinstance(element, str) else element)]


@cache
def facts_of(provider: str) -> dict[str, bytes]:
    """The facts about each type of a provider, in JSON."""
    with gzip.open(FilePath(__file__).with_name("provider_facts") / f"{provider}.jsonl.gz") as file:
        return {line[len(_NAME) : line.index(b'"', len(_NAME))].decode(): line for line in file}


def read(provider: str, names: Collection[str] | None) -> dict[str, Block]:
    """Those of the named types that a provider has, or all; it is itself called `provider`."""
    return {
        name: _resource(json.loads(line))
        for name, line in facts_of(provider).items()
        if names is None or name in names
    }


def _resource(facts: Facts) -> Block:
    members: dict[str, Facts] = facts["attributes"]
    if timeouts := facts.get("timeouts"):
        limits = {name: {"type": "string", "mode": "optional"} for name in timeouts}
        members["timeouts"] = {"type": "single", "mode": "optional", "block": limits}
    return _block(facts, members)


def _block(facts: Facts, members: Mapping[str, Facts]) -> Block:
    # What the provider alone sets is an attribute, as Terraform's SDK has it.
    blocks = {name for name, each in members.items() if "block" in each and each["mode"] != "computed"}
    return Block(
        facts,
        {name: each for name, each in members.items() if name not in blocks},
        {name: _block(members[name], members[name]["block"]) for name in sorted(blocks)},
    )


def schema(block: Block) -> pb.Schema.Block:
    """The schema of a type or block in Terraform's plugin protocol."""
    return pb.Schema.Block(
        attributes=[
            pb.Schema.Attribute(
                name=name,
                type=json.dumps(cty_type(facts)).encode(),
                required=facts["mode"] == "required",
                optional=facts["mode"].startswith("optional"),
                computed=is_computed(facts),
                sensitive=facts.get("sensitive", False),
            )
            for name, facts in block.attributes.items()
        ],
        block_types=[
            pb.Schema.NestedBlock(
                type_name=name,
                nesting=_NESTING[nested.facts["type"]],
                # No optional kind of block needs more than one where there is any.
                min_items=nested.facts.get("min_items", 1) if nested.facts["mode"] == "required" else 0,
                max_items=nested.facts.get("max_items", 0),
                block=schema(nested),
            )
            for name, nested in block.blocks.items()
        ],
    )


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
            result[name] = [conform(each, nested) for each in items(value)]
        else:
            result[name] = conform(value, nested) if isinstance(value, dict) else None
    return result
