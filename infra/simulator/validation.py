"""Checks of a configuration that Terraform leaves to providers, by the facts about the real ones."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.simulator.facts import Block, Facts
from infra.simulator.resources import Values
from infra.simulator.values import Path, is_unknown, items


@dataclass(frozen=True)
class Problem:
    """A problem of a configuration, and its path."""

    path: Path
    summary: str
    detail: str


def problems(block: Block, config: Values) -> Iterator[Problem]:
    """Read-only attributes that are set, values out of bounds, arguments that do not go together."""
    return _problems(block, config, config, ())


def _problems(block: Block, config: Values, root: Values, at: Path) -> Iterator[Problem]:
    for name, facts in block.attributes.items():
        value, path = config[name], (*at, name)
        yield from _companions(facts, value, root, path)
        if value is None:
            continue
        if facts["mode"] == "computed":
            yield Problem(
                path, "Value for read-only attribute", f"The provider computes {name}: leave it out."
            )
        if isinstance(value, list):
            low, high = facts.get("min_items", 0), facts.get("max_items", len(value))
            if not low <= len(value) <= high:
                yield Problem(path, "Wrong number of items", f"{name} has not {low} to {high} items.")
        of = facts.get("elem")
        for each in value if isinstance(value, list) else [value]:
            if not is_unknown(each) and (reason := _refusal(of if isinstance(of, dict) else facts, each)):
                yield Problem(path, f"Unexpected value of {name}", f"{json.dumps(each)} {reason}.")
    for name, nested in block.blocks.items():
        value, path = config[name], (*at, name)
        blocks = items(value)
        yield from _companions(nested.facts, blocks or None, root, path)
        for index, each in enumerate(blocks):
            inside: Path = (*path, index) if isinstance(value, list) else path
            for problem in _problems(nested.block, each, root, inside):
                # Elements of a set have no index.
                yield Problem(path, problem.summary, problem.detail) if nested.is_set else problem


def _companions(facts: Facts, value: Any, root: Values, path: Path) -> Iterator[Problem]:
    """Problems with the other arguments that an argument needs, excludes or replaces."""

    def given(key: str) -> list[str]:
        return [other for other in facts.get(key, ()) if _find(root, other) is not None]

    name, summary = path[-1], "Arguments do not go together"
    if (others := facts.get("exactly_one_of")) and not any(is_unknown(_find(root, path)) for path in others):
        if len(given("exactly_one_of")) != 1:
            yield Problem(path, summary, f"Exactly one of {', '.join(others)} must be set.")
    elif (others := facts.get("at_least_one_of")) and not given("at_least_one_of"):
        yield Problem(path, summary, f"At least one of {', '.join(others)} must be set.")
    if value is None or is_unknown(value):
        return
    for other in given("conflicts_with"):
        if not is_unknown(_find(root, other)):
            yield Problem(path, summary, f"{name} conflicts with {other}.")
    for other in facts.get("required_with", ()):
        if other not in given("required_with"):
            yield Problem(path, summary, f"{name} needs {other}.")


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
