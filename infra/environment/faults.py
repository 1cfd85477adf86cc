"""Messages about faulty environment files: pydantic's errors in the terms of the file."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from infra.environment.environment import Environment
from infra.environment.tfvars import Document, Fault, Key
from infra.environment.value_types import ContradictionError, Section

_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "an object",
    "date_type": "a date, such as 2026-11-27",
    "date_parsing": "a date, such as 2026-11-27",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "model_type": "an object",
    "greater_than": "a number above {gt}",
    "less_than": "a number below {lt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than_equal": "a number of at most {le}",
    "pattern": "{expected}",
}
"""Expected value by the type of pydantic's error."""


class InvalidEnvironmentError(Exception):
    """Environment files are faulty.

    Attributes:
        faults: all faults, in the order of the files.
    """

    def __init__(self, faults: Iterable[Fault]):
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


ELSEWHERE: Final = {"name", "images"}
"""Fields of an environment that do not come from its file."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint to the closest known word; empty if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _bare(kind: Any) -> Any:
    """A type without annotations, and without None as an alternative."""
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            kind = get_args(kind)[0]
        elif origin in (Union, UnionType):
            (kind,) = (each for each in get_args(kind) if each is not NoneType)
        else:
            return kind


def _declared(key: Key) -> Any:
    """The type of the value at a key."""
    kind: Any = Environment
    for part in key:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:  # dict[str, X], or tuple[X, ...]
            kind = get_args(kind)[1 if get_origin(kind) is dict else 0]
        kind = _bare(kind)
    return kind


def _fields(key: Key) -> dict[str, FieldInfo]:
    """The fields of the section at a key, by name."""
    section: type[Section] = _declared(key)
    elsewhere = frozenset[str]() if key else ELSEWHERE
    return {name: field for name, field in section.model_fields.items() if name not in elsewhere}


def faults_of(document: Document, error: ErrorDetails) -> Iterator[Fault]:
    """Faults for an error of pydantic."""
    key = error["loc"]
    if any(key[: len(faulty)] == faulty for faulty in document.faulty):
        return
    found = json.dumps(error["input"], default=str)  # a default is no JSON
    match error["type"]:
        case "missing":
            yield document.fault(key, f"missing; expected {_fields(key[:-1])[str(key[-1])].description}")
        case "extra_forbidden":
            known = _fields(key[:-1])
            remedy = did_you_mean(str(key[-1]), known) or f"; there are {', '.join(known)}"
            yield document.fault(key, f"unknown key{remedy}")
        case "literal_error":
            choices = [str(each) for each in get_args(_declared(key))]
            expected = " or ".join(choices) if len(choices) <= 2 else f"one of {', '.join(choices)}"
            hint = did_you_mean(str(error["input"]), choices)
            yield document.fault(key, f"expected {expected}, found {found}{hint}")
        case "value_error":
            cause = error.get("ctx", {})["error"]
            contradictions = cause.faults if isinstance(cause, ContradictionError) else [((), str(cause))]
            for at, message in contradictions:
                yield document.fault((*key, *at), message)
        case "too_short" if error["input"]:
            return  # its items are refused already
        case kind if kind in _EXPECTED:
            expected = _EXPECTED[kind].format(**error.get("ctx", {}))
            yield document.fault(key, f"expected {expected}, found {found}")
        case _:
            yield document.fault(key, f"{error['msg'][0].lower()}{error['msg'][1:]}, found {found}")
