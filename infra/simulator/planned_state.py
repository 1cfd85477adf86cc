"""The planned state of a resource: which values are known only after an apply, and what is replaced."""

import json
from collections.abc import Iterator
from typing import Any, Final

from tf.gen import tfplugin_pb2 as pb

from infra.simulator import facts
from infra.simulator.computed import ComputedValues
from infra.simulator.resources import Values
from infra.simulator.values import UNKNOWN, Path, is_set, is_unknown, items

_DEFAULTED: Final = ("project", "region", "zone")
"""Arguments whose default is in the provider's configuration."""


class MissingProjectError(Exception):
    """Neither the resource nor the provider has a project."""


def plan(
    type_name: str,
    block: pb.Schema.Block,
    prior: Values | None,
    proposed: Values,
    config: Values,
    defaults: Values,
) -> Values:
    """Complete the state that Terraform proposes: the configuration, and prior values of what it omits.

    Args:
        type_name: Resource type.
        block: Its schema.
        prior: State before the change; None for a new resource.
        proposed: Terraform's merge of configuration and prior state.
        config: The configuration alone.
        defaults: Configuration of the provider.

    Returns:
        The planned values; values that the provider computes are unknown.

    Raises:
        MissingProjectError: the resource needs a project and none is configured.
    """
    planned = _complete(type_name, block, prior, proposed, ())
    settable = {each.name for each in block.attributes if each.optional and each.computed}
    for name in _DEFAULTED:
        if name in settable and config[name] is None and defaults.get(name) is not None:
            planned[name] = defaults[name]
        elif name in settable and name == "project" and is_unknown(planned[name]) and config[name] is None:
            raise MissingProjectError
    labels = planned.get("labels", planned.get("resource_labels"))
    for name in ("effective_labels", "terraform_labels"):
        if name in planned:
            of_all: Values = defaults.get("default_labels") or {}
            planned[name] = UNKNOWN if is_unknown(labels) else {**of_all, **(labels or {})}
    if type_name == "kubernetes_manifest":
        planned["object"] = planned["manifest"]
    return planned


def _complete(
    type_name: str, block: pb.Schema.Block, prior: Values | None, proposed: Values, path: tuple[str, ...]
) -> Values:
    result: Values = dict(proposed)
    for attribute in block.attributes:
        # A prior value of null is the computed value.
        if attribute.computed and proposed[attribute.name] is None and prior is None:
            result[attribute.name] = UNKNOWN
    for nested in block.block_types:
        name = nested.type_name
        value = proposed[name]
        before: Any = None if prior is None else prior.get(name)
        here = (*path, name)
        if value in (None, []) and facts.is_computed_block(type_name, here, nested):
            result[name] = UNKNOWN if prior is None else before
        elif isinstance(value, list):
            result[name] = [
                _complete(type_name, nested.block, _counterpart(nested, each, index, before), each, here)
                for index, each in enumerate(items(value))
            ]
        elif isinstance(value, dict):
            result[name] = _complete(type_name, nested.block, before, items(value)[0], here)
    return result


def _counterpart(nested: pb.Schema.NestedBlock, value: Values, index: int, prior: Any) -> Values | None:
    """The prior state of a nested block; Terraform pairs blocks of lists by index, of sets by content."""
    before = items(prior)
    if is_set(nested):
        return next((each for each in before if each == value), None)
    return before[index] if index < len(before) else None


def resolve(
    block: pb.Schema.Block, planned: Values, computed: ComputedValues, path: tuple[str, ...] = ()
) -> Values:
    """Planned values, with computed values in place of unknown ones."""
    result = dict(planned)
    for attribute in block.attributes:
        if is_unknown(planned[attribute.name]):
            result[attribute.name] = computed.value(json.loads(attribute.type), (*path, attribute.name))
    for nested in block.block_types:
        name = nested.type_name
        value = planned[name]
        if is_unknown(value):
            value = [_all_computed(nested.block)]
        if isinstance(value, list):
            result[name] = [resolve(nested.block, each, computed, (*path, name)) for each in items(value)]
        elif isinstance(value, dict):
            result[name] = resolve(nested.block, items(value)[0], computed, (*path, name))
    return result


def _all_computed(block: pb.Schema.Block) -> Values:
    result: Values = {each.name: UNKNOWN if each.computed else None for each in block.attributes}
    for nested in block.block_types:
        result[nested.type_name] = None if nested.nesting == pb.Schema.NestedBlock.SINGLE else []
    return result


def replacements(
    type_name: str,
    block: pb.Schema.Block,
    prior: Values,
    planned: Values,
    names: tuple[str, ...] = (),
    at: Path = (),
) -> Iterator[Path]:
    """Paths of changes that cannot be made in place.

    Args:
        type_name: Resource type.
        block: Schema of the resource, or of a block inside it.
        prior: State before the change.
        planned: Planned values.
        names: Names of the blocks that lead to `block`.
        at: Path of `block`, with indices.
    """
    if type_name == "kubernetes_manifest" and _identity(prior["manifest"]) != _identity(planned["manifest"]):
        yield ("manifest",)
    for attribute in block.attributes:
        name = attribute.name
        if prior.get(name) != planned[name] and facts.forces_replacement(
            type_name, (*names, name), attribute.description
        ):
            yield (*at, name)
    for nested in block.block_types:
        name = nested.type_name
        before, after = prior.get(name), planned[name]
        if before == after:
            continue
        if is_set(nested) or len(items(before)) != len(items(after)):
            if facts.forces_replacement(type_name, (*names, name), ""):
                yield (*at, name)
            continue
        for index, (old, new) in enumerate(zip(items(before), items(after), strict=True)):
            step: Path = (name, index) if isinstance(after, list) else (name,)
            yield from replacements(type_name, nested.block, old, new, (*names, name), (*at, *step))


def _identity(manifest: Any) -> tuple[Any, ...]:
    """The identity of the Kubernetes object in a manifest, or (None,) if it is unknown."""
    _, content = manifest  # a dynamic value is a pair of its type and itself
    if is_unknown(content) or is_unknown(content["metadata"]):
        return (None,)
    metadata = content["metadata"]
    return content["apiVersion"], content["kind"], metadata["name"], metadata.get("namespace")
