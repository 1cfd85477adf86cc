"""Environment files: `infra/environments/<name>.tfvars`, and the digests of images beside them.

A faulty file is refused with all its faults, each with file, line, key and expected value. Once every value
is valid alone, those that contradict each other are refused in the same way.
"""

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from infra.environment import tfvars
from infra.environment.environment import Cloud, Digest, Environment
from infra.environment.services import ImageName
from infra.environment.tfvars import Document, Fault, Key
from infra.environment.value_types import ContradictionError, Section

DIRECTORY: Final = Path(__file__).parents[1] / "environments"

ELSEWHERE: Final = {"name", "images"}
"""Fields of an environment that do not come from its file."""

_IMAGES: Final = TypeAdapter(dict[ImageName, Digest])

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
    "is_instance_of": "a block, such as 10.0.0.0/16",  # no other type of value is a class of its own
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
    """Environment files are faulty; `faults` are in the order of the files."""

    def __init__(self, faults: Iterable[Fault]):
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def directory() -> Path:
    """Folder of the files: PLATFORM_ENVIRONMENTS, or `DIRECTORY`."""
    return Path(os.environ.get("PLATFORM_ENVIRONMENTS") or DIRECTORY).resolve()


def names(directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Names of the environments in a folder."""
    return tuple(sorted(file.stem for file in directory.glob("*.tfvars")))


def load(name: str, *, directory: Path = DIRECTORY, cloud: Cloud | None = None) -> Environment:
    """Read one environment; `cloud` replaces the value in its file, to apply any on this machine.

    Raises:
        InvalidEnvironmentError: there is no such file, or it is faulty.
    """
    file = directory / f"{name}.tfvars"
    if not re.fullmatch("[a-z][a-z0-9]{0,11}", name):
        expected = "expected a name of up to 12 lower-case letters and digits, the first a letter"
        raise InvalidEnvironmentError([Fault(file, 1, "", expected)])
    try:
        document = tfvars.read(file)
    except OSError as error:
        remedy = _hint(name, names(directory))
        raise InvalidEnvironmentError([Fault(file, 1, "", f"{error.strerror}{remedy}")]) from None
    for key in ELSEWHERE & document.values.keys():
        document.refuse((key,), "unknown key; it is not set in this file")
    images = _images(directory / f"{name}.images.json")
    values = document.values | {"name": name, "images": images} | ({"cloud": cloud} if cloud else {})
    try:
        environment = Environment.model_validate(values)
    except ValidationError as error:
        faults = document.faults + [fault for each in error.errors() for fault in _faults(document, each)]
        raise InvalidEnvironmentError(sorted(faults)) from None
    if document.faults:
        raise InvalidEnvironmentError(document.faults)
    return environment


def load_all(*, directory: Path = DIRECTORY, cloud: Cloud | None = None) -> tuple[Environment, ...]:
    """Read all environments of a folder; an InvalidEnvironmentError has the faults of all of them."""
    environments: list[Environment] = []
    faults: list[Fault] = []
    for name in names(directory):
        try:
            environments.append(load(name, directory=directory, cloud=cloud))
        except InvalidEnvironmentError as error:
            faults.extend(error.faults)
    if not environments and not faults:
        faults.append(Fault(directory, 1, "", "no environment: there is no file *.tfvars"))
    if faults:
        raise InvalidEnvironmentError(faults)
    return tuple(environments)


def record_image(name: str, image: str, digest: str, *, directory: Path = DIRECTORY) -> Path:
    """Record the digest of a pushed image. Returns the file.

    Raises:
        InvalidEnvironmentError: the file is faulty as it is.
    """
    file = directory / f"{name}.images.json"
    images = _images(file) | {image: digest}
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(images, indent=2, sort_keys=True) + "\n")
    temporary.replace(file)
    return file


def _images(file: Path) -> dict[str, str]:
    """The digests of an environment's images; none before the first was pushed."""
    try:
        return _IMAGES.validate_json(file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        raise InvalidEnvironmentError(
            Fault(file, 1, ".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()
        ) from None


def _faults(document: Document, error: ErrorDetails) -> Iterator[Fault]:
    """An error of pydantic in the terms of the file."""
    key = error["loc"]
    if any(key[: len(faulty)] == faulty for faulty in document.faulty):
        return
    context = error.get("ctx", {})
    found = json.dumps(error["input"], default=str)  # a default is no JSON
    match error["type"]:
        case "missing":
            yield document.fault(key, f"missing; expected {_fields(key[:-1])[str(key[-1])].description}")
        case "extra_forbidden":
            yield document.fault(key, f"unknown key{_hint(str(key[-1]), _fields(key[:-1]))}")
        case "literal_error":
            choices = [str(each) for each in get_args(_declared(key))]
            expected = " or ".join(choices) if len(choices) <= 2 else f"one of {', '.join(choices)}"
            hint = _did_you_mean(str(error["input"]), choices)
            yield document.fault(key, f"expected {expected}, found {found}{hint}")
        case "value_error":
            cause = context["error"]
            contradictions = cause.faults if isinstance(cause, ContradictionError) else [((), str(cause))]
            for at, message in contradictions:
                yield document.fault((*key, *at), message)
        case "too_short" if error["input"]:
            return  # its items are refused already
        case kind if kind in _EXPECTED:
            yield document.fault(key, f"expected {_EXPECTED[kind].format(**context)}, found {found}")
        case _:
            yield document.fault(key, f"{error['msg'][0].lower()}{error['msg'][1:]}, found {found}")


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint to the closest known word; empty if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _hint(word: str, known: Iterable[str]) -> str:
    """The closest known word, or else all of them."""
    return _did_you_mean(word, known) or f"; there are {', '.join(known) or 'none'}"


def _fields(key: Key) -> dict[str, FieldInfo]:
    """The fields of the section at a key, by name; those `ELSEWHERE` have no description."""
    section: type[Section] = _declared(key)
    return {name: field for name, field in section.model_fields.items() if field.description}


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


def _bare(kind: Any) -> Any:
    """A type without annotations, and without None as an alternative."""
    if get_origin(kind) not in (Annotated, Union, UnionType):
        return kind
    return _bare(next(each for each in get_args(kind) if each is not NoneType))
