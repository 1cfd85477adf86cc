"""What a provider decides about a resource by the facts about its type.

Which configurations it refuses, which values are known only after an apply, and what is replaced.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from infra.simulator.computed import ComputedValues
from infra.simulator.resources import ResourceError, Values
from infra.simulator.terraform import UNKNOWN, Block, Facts, Path, cty_type, is_computed, is_unknown, items


class Problem(NamedTuple):
    """A problem of a configuration that Terraform leaves to providers."""

    summary: str
    detail: str
    path: Path


def problems(block: Block, config: Values, root: Values | None = None, at: Path = ()) -> Iterator[Problem]:
    """Read-only attributes that are set, values out of bounds, arguments that do not go together.

    `root` is the configuration of the resource, in which a block is `at` a path.
    """
    root = config if root is None else root
    for name, facts in block.attributes.items():
        value, path = config[name], (*at, name)
        yield from _companions(facts, value, root, path)
        if value is None:
            continue
        if facts["mode"] == "computed":
            yield Problem(
                "Value for read-only attribute", f"The provider computes {name}: leave it out.", path
            )
        if isinstance(value, list):
            low, high = facts.get("min_items", 0), facts.get("max_items", len(value))
            if not low <= len(value) <= high:
                yield Problem("Wrong number of items", f"{name} has not {low} to {high} items.", path)
        of = facts.get("elem")
        for each in value if isinstance(value, list) else [value]:
            if not is_unknown(each) and (reason := _refusal(of if isinstance(of, dict) else facts, each)):
                yield Problem(f"Unexpected value of {name}", f"{json.dumps(each)} {reason}.", path)
    for name, nested in block.blocks.items():
        value, path = config[name], (*at, name)
        blocks = items(value)
        yield from _companions(nested.facts, blocks or None, root, path)
        for index, each in enumerate(blocks):
            inside: Path = (*path, index) if isinstance(value, list) else path
            for problem in problems(nested, each, root, inside):
                # Elements of a set have no index.
                yield problem._replace(path=path) if nested.is_set else problem


def _companions(facts: Facts, value: Any, root: Values, path: Path) -> Iterator[Problem]:
    """Problems with the other arguments that an argument needs, excludes or replaces."""

    def given(key: str) -> list[str]:
        return [other for other in facts.get(key, ()) if _find(root, other) is not None]

    name, summary = path[-1], "Arguments do not go together"
    if (others := facts.get("exactly_one_of")) and not any(is_unknown(_find(root, each)) for each in others):
        if len(given("exactly_one_of")) != 1:
            yield Problem(summary, f"Exactly one of {', '.join(others)} must be set.", path)
    elif (others := facts.get("at_least_one_of")) and not given("at_least_one_of"):
        yield Problem(summary, f"At least one of {', '.join(others)} must be set.", path)
    if value is None or is_unknown(value):
        return
    for other in given("conflicts_with"):
        if not is_unknown(_find(root, other)):
            yield Problem(summary, f"{name} conflicts with {other}.", path)
    for other in facts.get("required_with", ()):
        if other not in given("required_with"):
            yield Problem(summary, f"{name} needs {other}.", path)


def _find(root: Any, path: str) -> Any:
    """The value at a path such as `settings.0.name`; None if it is absent or an empty list of blocks."""
    found = root
    for step in path.split("."):
        if is_unknown(found):
            return found
        if isinstance(found, list) and step.isdecimal():
            found = found[int(step)] if int(step) < len(found) else None
        else:
            found = found.get(step) if isinstance(found, dict) else None
    return None if found == [] else found


def _refusal(facts: Facts, value: Any) -> str | None:
    """Why a provider refuses a value, or None."""
    match facts:
        case {"one_of": allowed} if value not in allowed:
            return f"is not one of {', '.join(map(json.dumps, allowed))}"
        case {"pattern": pattern} if not re.search(pattern, value):
            return f"does not match {pattern}"
        case {"length_range": [low, high]} if not low <= len(value) <= high:
            return f"has not {low} to {high} characters"
        case {"range": [low, high]} if not low <= value <= high:
            return f"is not between {low} and {high}"
        case {"minimum": low} if value < low:
            return f"is less than {low}"
        case {"maximum": high} if value > high:
            return f"is more than {high}"
        case _:
            return None


def plan(block: Block, prior: Values | None, proposed: Values, config: Values, defaults: Values) -> Values:
    """Complete the state that Terraform proposes: the configuration, and prior values of what it omits.

    `defaults` is the configuration of the provider. Values that the provider computes are unknown.
    ResourceError: the resource needs a project and none is configured.
    """
    planned = _complete(block, prior, proposed)
    for name in ("project", "region", "zone"):  # whose defaults are in the provider's configuration
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
                _complete(nested, _counterpart(nested, each, index, before), each)
                for index, each in enumerate(items(value))
            ]
        elif isinstance(value, dict):
            result[name] = _complete(nested, before, items(value)[0])
    return result


def _counterpart(nested: Block, value: Values, index: int, prior: Any) -> Values | None:
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
            result[name] = [resolve(nested, each, computed, (*path, name)) for each in items(value)]
        elif isinstance(value, dict):
            result[name] = resolve(nested, items(value)[0], computed, (*path, name))
    return result


def _all_computed(nested: Block) -> list[Values]:
    """A block that is not configured: it is there if the provider alone sets something in it."""
    attributes = nested.attributes
    if nested.facts.get("max_items") != 1 or all(each["mode"] != "computed" for each in attributes.values()):
        return []
    values: Values = {name: UNKNOWN if is_computed(facts) else None for name, facts in attributes.items()}
    return [values | {name: [] for name in nested.blocks}]


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
            if any(each.get("force_new") for each in (nested.facts, *nested.attributes.values())):
                yield (*at, name)
            continue
        for index, (old, new) in enumerate(zip(items(before), items(after), strict=True)):
            step: Path = (name, index) if isinstance(after, list) else (name,)
            yield from replacements(nested, old, new, (*at, *step))


def _identity(manifest: Any) -> tuple[Any, ...]:
    """The identity of the Kubernetes object in a manifest, or (None,) if it is unknown."""
    _, content = manifest  # a dynamic value is a pair of its type and itself
    if is_unknown(content) or is_unknown(content["metadata"]):
        return (None,)
    metadata = content["metadata"]
    return content["apiVersion"], content["kind"], metadata["name"], metadata.get("namespace")
