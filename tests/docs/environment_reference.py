"""The tables of `docs/environments.md`: each key of an environment file, its type, default, meaning."""

import inspect
from collections.abc import Iterator
from datetime import date
from ipaddress import IPv4Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from infra.environment import Environment
from infra.environment.files import ELSEWHERE
from infra.environment.value_types import Section

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "environments.md"

MARKER: Final = "<!-- `make docs` writes everything below from infra/environment. -->\n"

_NAMES: Final = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    date: "date",
    IPv4Network: "network block",
}
_BOUNDS: Final = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def document(text: str) -> str:
    """The document with new tables; what stands above the marker stays."""
    return f"{text.partition(MARKER)[0]}{MARKER}\n{tables()}"


def tables() -> str:
    """A table of the file's own keys, then one of each section, in the order of the file."""
    paths = _sections(Environment, "")
    return "\n".join(
        _table(section, [path for path, each in paths if each is section])
        for section in dict.fromkeys(section for _, section in paths)
    )


def _sections(section: type[Section], path: str) -> list[tuple[str, type[Section]]]:
    """A section and those in it, each with its path in the file."""
    found = [(path, section)]
    for key, field in section.model_fields.items():
        for inner, suffix in sections_of(field.annotation):
            found += _sections(inner, f"{path}.{key}{suffix}".lstrip("."))
    return found


def sections_of(kind: Any, suffix: str = "") -> Iterator[tuple[type[Section], str]]:
    """The sections in a value of this type, each with what follows the value's key in its path."""
    if inspect.isclass(kind) and issubclass(kind, Section):
        yield kind, suffix
    elif get_origin(kind) is dict:
        yield from sections_of(get_args(kind)[1], f"{suffix}.NAME")
    elif get_origin(kind) is tuple:
        yield from sections_of(get_args(kind)[0], f"{suffix}[]")
    else:
        for each in get_args(kind):
            yield from sections_of(each, suffix)


def _table(section: type[Section], paths: list[str]) -> str:
    lines = ["## The file's own keys", ""]
    if section is not Environment:
        title = ", ".join(f"`{path}`" for path in paths)
        lines = [f"## {title}", "", (inspect.getdoc(section) or "").replace("\n", " "), ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in section.model_fields.items():
        if section is Environment and key in ELSEWHERE:
            continue
        kind = _type(field.annotation, field.metadata)
        default = (
            "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        )
        lines.append(f"| `{key}` | {kind} | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def _type(kind: Any, metadata: list[Any]) -> str:
    """A type in the words of the file."""
    arguments = get_args(kind)
    origin = get_origin(kind)
    if origin is Annotated:
        return _type(arguments[0], [*metadata, *arguments[1:]])
    if origin in (Union, UnionType):
        return " or ".join(_type(each, metadata) for each in arguments if each is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{_plain(each)}`" for each in arguments)
    if origin is tuple:
        return f"list of: {_type(arguments[0], [])}"
    if origin is dict:
        return f"object, key: {_type(arguments[0], [])}; value: {_type(arguments[1], [])}"
    if issubclass(kind, Section):
        return "section"
    if issubclass(kind, str) and (expected := _expected(metadata)):
        return expected
    bounds = {name: getattr(each, name) for each in metadata for name in _BOUNDS if hasattr(each, name)}
    if {"ge", "le"} <= bounds.keys():
        return f"{_NAMES[kind]}, {bounds['ge']} to {bounds['le']}"
    return ", ".join([_NAMES[kind], *(f"{_BOUNDS[name]} {bound}" for name, bound in bounds.items())])


def _expected(metadata: list[Any]) -> str | None:
    """The form of a text, from the error that an empty text causes; None if any text will do."""
    if not metadata:
        return None
    try:
        TypeAdapter(Annotated[str, *metadata]).validate_python("")
    except ValidationError as error:
        return error.errors()[0].get("ctx", {}).get("expected")
    return None


def _default(value: object) -> str:
    if isinstance(value, Section):
        return "its defaults"
    return f"`{_plain(value)}`" if value not in (None, (), {}) else "none"


def _plain(value: object) -> str:
    """A value as an environment file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
