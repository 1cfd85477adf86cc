"""What a Terraform plan changes, read from `terraform show -json`; sensitive values never leave this module.

The format: https://developer.hashicorp.com/terraform/internals/json-format#plan-representation
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

Action = Literal["create", "update", "replace", "destroy", "forget", "read", "move", "import"]
"""What happens to a resource. `forget`: it stays, and Terraform no longer manages it."""

DESTRUCTIVE: Final[tuple[Action, ...]] = ("replace", "destroy")
"""Actions that applying the previous configuration again does not undo."""

SENSITIVE: Final = "(sensitive value)"
UNKNOWN: Final = "(known after apply)"

_ACTIONS: Final[Mapping[tuple[str, ...], Action]] = {
    ("create",): "create",
    ("update",): "update",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("delete",): "destroy",
    ("forget",): "forget",
    ("read",): "read",
}


class Difference(msgspec.Struct, frozen=True):
    """A value that changes inside a resource.

    Attributes:
        path: where it is, such as `spec[0].replicas`.
        before: as JSON; null when there was none.
        after: as JSON, or `UNKNOWN`.
        sensitive: the value is secret; both texts are `SENSITIVE`.
        forces_replacement: the resource cannot be changed in place because of this value.
    """

    path: str
    before: str
    after: str
    sensitive: bool
    forces_replacement: bool


class Change(msgspec.Struct, frozen=True):
    """What happens to one resource.

    Attributes:
        address: in Terraform.
        action: what happens to it.
        reason: why it is replaced or destroyed, in Terraform's words; empty if it needs no reason.
        moved_from: its former address, if that changes.
        differences: values that change; none for a resource that is destroyed or forgotten.
    """

    address: str
    action: Action
    reason: str
    moved_from: str | None
    differences: tuple[Difference, ...]


def changes(plan: Mapping[str, Any]) -> tuple[Change, ...]:
    """The changes that applying a plan would make, sorted by address.

    Args:
        plan: JSON of `terraform show -json <plan>`.
    """
    return _read(plan.get("resource_changes", ()))


def drift(plan: Mapping[str, Any]) -> tuple[Change, ...]:
    """Resources that changed outside of Terraform since the last apply, sorted by address."""
    return _read(plan.get("resource_drift", ()))


def changed_outputs(plan: Mapping[str, Any]) -> frozenset[str]:
    """Names of outputs whose value changes."""
    outputs: Mapping[str, Any] = plan.get("output_changes", {})
    return frozenset(name for name, change in outputs.items() if change["actions"] != ["no-op"])


def _read(resources: Iterable[dict[str, Any]]) -> tuple[Change, ...]:
    found = (change for resource in resources if (change := _change(resource)))
    return tuple(sorted(found, key=lambda change: change.address))


def _change(resource: dict[str, Any]) -> Change | None:
    """The change of one resource; None if it does not change."""
    change = resource["change"]
    action = _ACTIONS.get(tuple(change["actions"]))
    if action is None:
        if resource.get("previous_address"):
            action = "move"
        elif change.get("importing"):
            action = "import"
        else:
            return None
    address = resource["address"]
    if deposed := resource.get("deposed"):
        address = f"{address} (deposed {deposed})"
    return Change(
        address=address,
        action=action,
        reason=resource.get("action_reason", "").replace("_", " "),
        moved_from=resource.get("previous_address"),
        differences=tuple(_differences(change)) if action in ("create", "update", "replace", "read") else (),
    )


def _differences(change: dict[str, Any]) -> Iterator[Difference]:
    replacing = [tuple(path) for path in change.get("replace_paths", ())]
    walk = _walk(
        (),
        change["before"],
        change["after"],
        change.get("after_unknown", False),
        (change.get("before_sensitive", False), change.get("after_sensitive", False)),
    )
    for path, before, after in walk:
        forces = any(path[: len(each)] == each or each[: len(path)] == path for each in replacing)
        yield Difference(_text(path), before, after, before == SENSITIVE, forces)


_Path = tuple[str | int, ...]
_Masks = tuple[Any, Any]
"""What is sensitive before and after: true for a whole value, or masks of its parts."""


def _walk(
    path: _Path, before: Any, after: Any, unknown: Any, sensitive: _Masks
) -> Iterator[tuple[_Path, str, str]]:
    """Path and both texts of every smallest part of a value that differs."""
    if True in sensitive:
        # A value that is sensitive on one side is not shown from the other side either.
        if unknown is True or before != after:
            yield path, SENSITIVE, SENSITIVE
    elif unknown is True:
        yield path, _json(before), UNKNOWN
    elif isinstance(before, list) and isinstance(after, list) and not _marked((unknown, *sensitive)):
        yield from _lists(path, before, after)
    elif keys := _keys(before, after, unknown):
        for key in keys:
            masks = (_mask(sensitive[0], key), _mask(sensitive[1], key))
            yield from _walk((*path, key), _part(before, key), _part(after, key), _mask(unknown, key), masks)
    elif _marked(sensitive):
        if before != after:
            yield path, SENSITIVE, SENSITIVE
    elif documents := _documents(before, after):
        yield from _walk(path, *documents, False, (False, False))
    elif before != after and not (before is None and after in ([], {})):
        yield path, _json(before), UNKNOWN if _marked(unknown) else _json(after)


def _keys(before: Any, after: Any, unknown: Any) -> list[str] | list[int]:
    """Names or indices of the parts to compare; empty if both sides are compared as a whole."""
    sides = [each for each in (before, after) if each is not None]
    if all(isinstance(each, dict) for each in sides):
        parts = [each for each in (*sides, unknown) if isinstance(each, dict)]
        return sorted({name for each in parts for name in each})
    if all(isinstance(each, list) for each in sides) and any(_is_block(each) for each in sides):
        lengths = {len(each) for each in (*sides, unknown) if isinstance(each, list)}
        if before is None or after is None or len(lengths) == 1:
            return list(range(max(lengths)))
    return []


def _lists(path: _Path, before: list[Any], after: list[Any]) -> Iterator[tuple[_Path, str, str]]:
    """Differences of lists, which may be sets: blocks changed, added or removed; plain values as a whole."""
    removed = [each for each in before if each not in after]
    added = [(index, each) for index, each in enumerate(after) if each not in before]
    if _is_block([*before, *after]) and len(removed) == len(added) > 0:
        for old, (index, new) in zip(removed, added, strict=True):
            yield from _walk((*path, index), old, new, False, (False, False))
    elif _is_block([*before, *after]) and (removed or added):
        for old in removed:
            yield (*path, before.index(old)), _json(old), _json(None)
        for index, new in added:
            yield (*path, index), _json(None), _json(new)
    elif before != after:
        yield path, _json(before), _json(after)


def _is_block(values: list[Any]) -> bool:
    return any(isinstance(each, dict) for each in values)


def _documents(before: Any, after: Any) -> tuple[Any, Any] | None:
    """Both sides of a JSON document that is stored as text, such as the columns of a table."""
    if before == after or not isinstance(before, str) or not isinstance(after, str):
        return None
    try:
        parsed = json.loads(before), json.loads(after)
    except ValueError:
        return None
    same_kind = type(parsed[0]) is type(parsed[1]) and isinstance(parsed[0], dict | list)
    return parsed if same_kind and parsed[0] != parsed[1] else None


def _part(value: Any, key: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    return value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None


def _mask(mask: Any, key: str | int) -> Any:
    """The mask of a part; the mask of the whole applies to its parts."""
    return mask if isinstance(mask, bool) else _part(mask, key) or False


def _marked(mask: Any) -> bool:
    """Whether any part is marked."""
    if isinstance(mask, dict):
        return any(map(_marked, mask.values()))
    return any(map(_marked, mask)) if isinstance(mask, list | tuple) else mask is True


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(path: _Path) -> str:
    """A path as Terraform writes it: `spec[0].labels["app/name"]`."""
    steps = (
        f".{step}" if isinstance(step, str) and re.fullmatch(r"\w[\w-]*", step) else f"[{json.dumps(step)}]"
        for step in path
    )
    return "".join(steps).removeprefix(".")
