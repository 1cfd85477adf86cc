"""Parts of the sections of an environment file: types of values, and checks that several sections use."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from infra.environment.tfvars import Key

Contradictions = Iterator[tuple[Key, str]]
"""Values that do not go together, each being valid alone: the key of one of them, and a message."""


class Section(BaseModel):
    """An object of an environment file.

    Every field has a description, which the message about a missing field shows. A field with a default may
    be left out; defaults are validated like values of the file. A section of an optional part of the platform
    is `X | None`: without the section, that part does not exist.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if found := tuple(self._contradictions()):
            raise ContradictionError(*found)
        return self

    def _contradictions(self) -> Contradictions:
        yield from ()

    def _ordered(self, smaller: str, larger: str) -> Contradictions:
        """A contradiction if the value that has to be larger is not."""
        low, high = getattr(self, smaller), getattr(self, larger)
        if high < low:
            yield (larger,), f"expected at least {smaller}, which is {low}, found {high}"


class ContradictionError(ValueError):
    """Values that contradict each other: keys relative to the validated field or section, and messages."""

    def __init__(self, *faults: tuple[Key, str]):
        self.faults = faults
        super().__init__("; ".join(message for _, message in faults))


def matching(pattern: str, expected: str) -> AfterValidator:
    """Validator: the whole text matches a regular expression; `expected` describes it in words."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise PydanticCustomError("pattern", "expected {expected}", {"expected": expected})
        return value

    return AfterValidator(check)


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [each for each in enumerate(values) if each[1] in values[: each[0]]]:
        raise ContradictionError(*(((index,), f"{value} is listed twice") for index, value in twice))
    return values


def _network(value: Any) -> Any:
    return IPv4Network(value) if isinstance(value, str) else value


_Item = TypeVar("_Item")
UniqueList = Annotated[tuple[_Item, ...], AfterValidator(_unique)]
Days = Annotated[int, Field(ge=1, le=3650)]
Network = Annotated[IPv4Network, BeforeValidator(_network)]
# https://cloud.google.com/resource-manager/docs/creating-managing-projects#before_you_begin
ProjectId = Annotated[
    str,
    matching(
        "[a-z][a-z0-9-]{4,28}[a-z0-9]",
        "a project id: 6 to 30 lower-case letters, digits and hyphens; first a letter, last no hyphen",
    ),
]
Region = Annotated[str, matching(r"[a-z]+-[a-z]+\d{1,2}", "a region, such as europe-west1")]
# Types whose names contain their size. One CPU is hardly enough for GKE's own pods.
MachineType = Annotated[
    str,
    matching(
        r"[a-z]\d[a-z]?-(standard|highmem|highcpu)-([2-9]|[1-9]\d+)|e2-(small|medium)",
        "a machine type of at least 2 CPUs, such as e2-standard-4",
    ),
]
Hostname = Annotated[
    str,
    matching(
        r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
        "a full host name in lower case, such as forecast.example.com",
    ),
]
IamMember = Annotated[
    str,
    matching(
        r"(user|group|serviceAccount):[^@\s]+@[^@\s]+|domain:[^@\s]+",
        "an IAM member, such as group:sales@example.com",
    ),
]


def machine_cpus(machine_type: str) -> int:
    """Number of CPUs of a machine type, from its name; those with shared cores have two."""
    size = machine_type.rpartition("-")[2]
    return int(size) if size.isdigit() else 2


def cpu_quota(machine_type: str) -> str:
    """The quota of a machine's CPUS, as Compute Engine names it: the first families share one."""
    family = machine_type.partition("-")[0]
    return "CPUS" if family in ("e2", "n1") else f"{family.upper()}_CPUS"
