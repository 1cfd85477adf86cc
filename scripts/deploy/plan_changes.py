"""What a Terraform plan changes, read from `terraform show -json`; sensitive values never leave this module.

The format: https://developer.hashicorp.com/terraform/internals/json-format#plan-representation
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

Kind = Literal["create", "update", "replace", "destroy", "forget", "read", "move", "import"]
"""What happens to a resource. `forget`: Terraform no longer manages it, and it stays where it is."""

LOUD: Final[tuple[Kind, ...]] = ("replace", "destroy")
"""What cannot be undone by applying the previous configuration again."""

SENSITIVE: Final = "(sensitive value)"
UNKNOWN: Final = "(known after apply)"

_KINDS: Final[Mapping[tuple[str, ...], Kind]] = {
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
        sensitive: the values are secret, and both texts are `SENSITIVE`.
        forces_replacement: the resource cannot be changed in place because of it.
    """

    path: str
    before: str
    after: str
    sensitive: bool
    forces_replacement: bool


class Change(msgspec.Struct, frozen=True):
    """What happens to one resource.

    Attributes:
        address: as Terraform calls it.
        kind: what happens.
        reason: why it is replaced or destroyed, in Terraform's words; empty if it needs no reason.
        moved_from: its former address, if it has another one now.
        differences: values that change. Of a resource that is destroyed or forgotten: none.
    """

    address: str
    kind: Kind
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
    """What has changed outside of Terraform since the last apply, sorted by address."""
    return _read(plan.get("resource_drift", ()))


def changed_outputs(plan: Mapping[str, Any]) -> frozenset[str]:
    """Names of outputs whose value changes: other stacks may read them."""
    outputs: Mapping[str, Any] = plan.get("output_changes", {})
    return frozenset(name for name, change in outputs.items() if change["actions"] != ["no-op"])


def _read(resources: Iterable[dict[str, Any]]) -> tuple[Change, ...]:
    found = (change for resource in resources if (change := _change(resource)))
    return tuple(sorted(found, key=lambda change: change.address))


def _change(resource: dict[str, Any]) -> Change | None:
    """One resource's change; None if it stays as it is."""
    change = resource["change"]
    kind = _KINDS.get(tuple(change["actions"]))
    if kind is None:
        if resource.get("previous_address"):
            kind = "move"
        elif change.get("importing"):
            kind = "import"
        else:
            return None
    address = resource["address"]
    if deposed := resource.get("deposed"):
        address = f"{address} (deposed {deposed})"
    return Change(
        address=address,
        kind=kind,
        reason=resource.get("action_reason", "").replace("_", " "),
        moved_from=resource.get("previous_address"),
        differences=tuple(_differences(change)) if kind in ("create", "update", "replace", "read") else (),
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
"""What is sensitive before and after: true of a whole value, or its parts' masks."""


def _walk(
    path: _Path, before: Any, after: Any, unknown: Any, sensitive: _Masks
) -> Iterator[tuple[_Path, str, str]]:
    """Paths and both texts of the smallest parts of a value that differ."""
    if True in sensitive:
        # What was secret, or becomes it, is not shown from its other side either.
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
    """Names or indices by which both sides are compared part by part; none if they are compared whole."""
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
    """Differences of lists, which may be sets: blocks that changed, came or went; plain values as a whole."""
    gone = [each for each in before if each not in after]
    come = [(index, each) for index, each in enumerate(after) if each not in before]
    if _is_block([*before, *after]) and len(gone) == len(come) > 0:
        for old, (index, new) in zip(gone, come, strict=True):
            yield from _walk((*path, index), old, new, False, (False, False))
    elif _is_block([*before, *after]) and (gone or come):
        for old in gone:
            yield (*path, before.index(old)), _json(old), _json(None)
        for index, new in come:
            yield (*path, index), _json(None), _json(new)
    elif before != after:
        yield path, _json(before), _json(after)


def _is_block(values: list[Any]) -> bool:
    return any(isinstance(each, dict) for each in values)


def _documents(before: Any, after: Any) -> tuple[Any, Any] | None:
    """Both sides of a JSON document that is kept as text: a table's columns, a dashboard."""
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
    """The mask of a part: what is true of the whole is true of it."""
    return mask if isinstance(mask, bool) else _part(mask, key) or False


def _marked(mask: Any) -> bool:
    """Whether anything inside is marked."""
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
