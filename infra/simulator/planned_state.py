"""The planned state of a resource: which values are known only after an apply, and what is replaced."""

from collections.abc import Iterator
from typing import Any, Final

from infra.simulator.computed import ComputedValues
from infra.simulator.facts import Block, NestedBlock, cty_type, is_computed
from infra.simulator.resources import ResourceError, Values
from infra.simulator.values import UNKNOWN, Path, is_unknown, items

_DEFAULTED: Final = ("project", "region", "zone")
"""Arguments whose default is in the provider's configuration."""


def plan(block: Block, prior: Values | None, proposed: Values, config: Values, defaults: Values) -> Values:
    """Complete the state that Terraform proposes: the configuration, and prior values of what it omits.

    `defaults` is the configuration of the provider. Values that the provider computes are unknown.

    Raises:
        ResourceError: the resource needs a project and none is configured.
    """
    planned = _complete(block, prior, proposed)
    for name in _DEFAULTED:
        facts = block.attributes.get(name)
        if facts is None or facts["mode"] != "optional_computed" or config[name] is not None:
            continue
        if defaults.get(name) is not None:
            planned[name] = defaults[name]
        elif name == "project" and is_unknown(planned[name]):
            detail = "Neither the block nor the provider is configured with a project."
            raise ResourceError("Missing project", detail, "project")
    labels = planned.get("labels", planned.get("resource_labels"))
    for name in ("effective_labels", "terraform_labels"):
        if name in planned:
            of_all: Values = defaults.get("default_labels") or {}
            planned[name] = UNKNOWN if is_unknown(labels) else {**of_all, **(labels or {})}
    if "manifest" in planned:
        planned["object"] = planned["manifest"]
    return planned


def _complete(block: Block, prior: Values | None, proposed: Values) -> Values:
    result: Values = dict(proposed)
    for name, facts in block.attributes.items():
        if proposed[name] is not None:
            continue
        if "default" in facts:
            result[name] = facts["default"]
        # A prior value of null is the computed value.
        elif is_computed(facts) and prior is None:
            result[name] = UNKNOWN
    for name, nested in block.blocks.items():
        value = proposed[name]
        before: Any = None if prior is None else prior.get(name)
        if value in (None, []) and is_computed(nested.facts):
            result[name] = UNKNOWN if prior is None else before
        elif isinstance(value, list):
            result[name] = [
                _complete(nested.block, _counterpart(nested, each, index, before), each)
                for index, each in enumerate(items(value))
            ]
        elif isinstance(value, dict):
            result[name] = _complete(nested.block, before, items(value)[0])
    return result


def _counterpart(nested: NestedBlock, value: Values, index: int, prior: Any) -> Values | None:
    """The prior state of a nested block; Terraform pairs blocks of lists by index, of sets by content."""
    before = items(prior)
    if nested.is_set:
        return next((each for each in before if each == value), None)
    return before[index] if index < len(before) else None


def resolve(block: Block, planned: Values, computed: ComputedValues, path: tuple[str, ...] = ()) -> Values:
    """Planned values, with computed values in place of unknown ones."""
    result = dict(planned)
    for name, facts in block.attributes.items():
        if is_unknown(planned[name]):
            result[name] = computed.value(cty_type(facts), (*path, name))
    for name, nested in block.blocks.items():
        value = planned[name]
        if is_unknown(value):
            value = _all_computed(nested)
        if isinstance(value, list):
            result[name] = [resolve(nested.block, each, computed, (*path, name)) for each in items(value)]
        elif isinstance(value, dict):
            result[name] = resolve(nested.block, items(value)[0], computed, (*path, name))
    return result


def _all_computed(nested: NestedBlock) -> list[Values]:
    """A block that is not configured: it is there if the provider alone sets something in it."""
    attributes = nested.block.attributes
    if nested.facts.get("max_items") != 1 or all(each["mode"] != "computed" for each in attributes.values()):
        return []
    values: Values = {name: UNKNOWN if is_computed(facts) else None for name, facts in attributes.items()}
    return [values | {name: [] for name in nested.block.blocks}]


def replacements(block: Block, prior: Values, planned: Values, at: Path = ()) -> Iterator[Path]:
    """Paths of changes that cannot be made in place; `at` is that of the block, with indices."""
    if "manifest" in planned and _identity(prior["manifest"]) != _identity(planned["manifest"]):
        yield ("manifest",)
    for name, facts in block.attributes.items():
        if prior.get(name) != planned[name] and facts.get("force_new"):
            yield (*at, name)
    for name, nested in block.blocks.items():
        before, after = prior.get(name), planned[name]
        if before == after:
            continue
        if nested.is_set or is_unknown(after) or len(items(before)) != len(items(after)):
            if any(each.get("force_new") for each in (nested.facts, *nested.block.attributes.values())):
                yield (*at, name)
            continue
        for index, (old, new) in enumerate(zip(items(before), items(after), strict=True)):
            step: Path = (name, index) if isinstance(after, list) else (name,)
            yield from replacements(nested.block, old, new, (*at, *step))


def _identity(manifest: Any) -> tuple[Any, ...]:
    """The identity of the Kubernetes object in a manifest, or (None,) if it is unknown."""
    _, content = manifest  # a dynamic value is a pair of its type and itself
    if is_unknown(content) or is_unknown(content["metadata"]):
        return (None,)
    metadata = content["metadata"]
    return content["apiVersion"], content["kind"], metadata["name"], metadata.get("namespace")
