"""The environments: what differs between them, read from `infra/environments/<name>.tfvars`.

A file that cannot be used is refused with every fault in it, each with file, line, key and what was expected.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic import field_validator as validator
from pydantic_core import ErrorDetails, PydanticCustomError

from infra import tfvars
from infra.addresses import LONGEST_PREFIX, AddressPlan
from infra.tfvars import Document, Fault, Key
from services.contracts.model import HORIZON_DAYS

DIRECTORY: Final = Path(__file__).parent / "environments"

Cloud = Literal["google", "simulated"]
StackName = Literal[
    "foundation", "registry", "cluster", "data", "messaging", "orchestration", "services", "observability"
]

ServiceName = Literal["prediction", "streaming"]

UPSTREAM: Final[Mapping[StackName, tuple[StackName, ...]]] = {
    "foundation": (),
    "registry": ("foundation",),
    "cluster": ("foundation", "registry"),
    "data": ("foundation",),
    "messaging": ("foundation", "data"),
    "orchestration": ("foundation", "data"),
    "services": ("registry", "cluster", "data", "messaging"),
    "observability": ("foundation", "messaging"),
}
"""The stacks each stack builds on, in an order in which all can be deployed."""


_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
    "model_type": "an object",
    "greater_than_equal": "a number of at least {ge}",
    "less_than_equal": "a number of at most {le}",
    "pattern": "{expected}",
}
"""What a value should have been, by the type of pydantic's error."""


class InvalidEnvironmentError(Exception):
    """Environment files that cannot be used.

    Attributes:
        faults: everything wrong with them, in the order of the files.
    """

    def __init__(self, faults: Iterable[Fault]):
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class _ContradictionError(ValueError):
    """Values that do not fit each other; `at` is the key at fault, relative to the field validated."""

    def __init__(self, *faults: tuple[Key, str]):
        self.faults = faults
        super().__init__("; ".join(message for _, message in faults))


def _matching(pattern: str, expected: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise PydanticCustomError("pattern", "expected {expected}", {"expected": expected})
        return value

    return AfterValidator(check)


# https://cloud.google.com/resource-manager/docs/creating-managing-projects#before_you_begin
ProjectId = Annotated[
    str,
    _matching(
        "[a-z][a-z0-9-]{4,28}[a-z0-9]",
        "a project id: 6 to 30 lower-case letters, digits and hyphens, from a letter to no hyphen",
    ),
]
Region = Annotated[str, _matching(r"[a-z]+-[a-z]+\d{1,2}", "a region, such as europe-west1")]
Zone = Annotated[str, _matching(r"[a-z]+-[a-z]+\d{1,2}-[a-z]", "a zone, such as europe-west1-b")]
Email = Annotated[str, _matching(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", "a mail address")]
Cpu = Annotated[str, _matching(r"[1-9]\d*m?", 'CPUs as Kubernetes writes them: "2" or "500m"')]
Memory = Annotated[str, _matching(r"[1-9]\d*(Mi|Gi)", 'memory as Kubernetes writes it: "512Mi" or "2Gi"')]
MachineType = Annotated[str, _matching(r"[a-z]\w*(-[a-z0-9]+){1,2}", "a machine type, such as e2-standard-4")]
Digest = Annotated[str, _matching("sha256:[0-9a-f]{64}", "a digest: sha256: and 64 hexadecimal digits")]
Port = Annotated[int, Field(ge=1024, le=65535)]  # below 1024 only root may listen, which no container is
Replicas = Annotated[int, Field(ge=1, le=100)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NodePool(_Section):
    """The cluster's node pool."""

    machine_type: MachineType = Field(description="machine type of a node")
    min_nodes: int = Field(ge=0, le=1000, description="fewest nodes in each zone")
    max_nodes: int = Field(ge=1, le=1000, description="most nodes in each zone")

    @validator("max_nodes")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return _at_least("min_nodes", most, info)


class WorkloadSettings(_Section):
    """A service on the cluster."""

    port: Port = Field(description="port it listens on")
    max_range: int = Field(
        HORIZON_DAYS,
        ge=1,
        le=HORIZON_DAYS,
        description="most days a request may ask for, of the model's horizon",
    )
    min_replicas: Replicas = Field(description="fewest pods")
    max_replicas: Replicas = Field(description="most pods")
    cpu: Cpu = Field(description="CPU that a pod asks for")
    memory: Memory = Field(description="memory that a pod asks for and may use")

    @validator("max_replicas")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return _at_least("min_replicas", most, info)


class Environment(_Section):
    """One environment.

    Its name is its file's. `images` are the digests of what was pushed for it, from `<name>.images.json`.
    """

    name: str
    images: dict[ServiceName, Digest]
    cloud: Cloud = Field(description="google, or simulated: emulators and processes on this machine")
    project_id: ProjectId = Field(description="Google Cloud project that holds this environment alone")
    project_number: int = Field(
        ge=1, description="number of that project; the addresses of Google's service agents contain it"
    )
    region: Region = Field(description="region of everything that is not global")
    zones: tuple[Zone, ...] = Field(min_length=1, description="zones of the region that nodes run in")
    stacks: tuple[StackName, ...] = Field(min_length=1, description="stacks that this environment has")
    deletion_protection: bool = Field(description="whether Terraform refuses to destroy data and clusters")
    alert_email: Email = Field(description="address that alerts are mailed to")
    node_pool: NodePool = Field(description="the cluster's node pool")
    network: IPv4Network = Field(description="block from which all ranges are cut, such as 10.0.0.0/16")
    prediction: WorkloadSettings = Field(description="the prediction service")
    streaming: WorkloadSettings = Field(description="the streaming service")

    @property
    def simulated(self) -> bool:
        """Whether it runs on this machine."""
        return self.cloud == "simulated"

    @property
    def addresses(self) -> AddressPlan:
        """The ranges of its network."""
        return AddressPlan.carve(self.network)

    @validator("zones")
    @classmethod
    def _in_region(cls, zones: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        _unique(zones)
        region = info.data.get("region")
        _refuse(
            ((index,), f"expected a zone of {region}, found {zone}")
            for index, zone in enumerate(zones)
            if region and zone.rpartition("-")[0] != region
        )
        return zones

    @validator("stacks")
    @classmethod
    def _with_upstream(cls, stacks: tuple[StackName, ...]) -> tuple[StackName, ...]:
        _unique(stacks)
        _refuse(
            ((index,), f"{stack} needs the stack {upstream}, which is not listed")
            for index, stack in enumerate(stacks)
            for upstream in UPSTREAM[stack]
            if upstream not in stacks
        )
        return stacks

    @validator("network")
    @classmethod
    def _roomy(cls, network: IPv4Network, info: ValidationInfo) -> IPv4Network:
        if not network.is_private:
            raise _ContradictionError(((), f"expected a private block (RFC 1918), found {network}"))
        if network.prefixlen > LONGEST_PREFIX:
            raise _ContradictionError(
                ((), f"expected a block of at least /{LONGEST_PREFIX}, found {network}")
            )
        if "node_pool" in info.data and "zones" in info.data:
            # An upgrade adds a node to each zone before it takes the old one away.
            nodes = (info.data["node_pool"].max_nodes + 1) * len(info.data["zones"])
            room = AddressPlan.carve(network).most_nodes
            if nodes > room:
                message = f"{network} has room for {room} nodes and their pods; node_pool may reach {nodes}"
                raise _ContradictionError(((), f"{message}. Take a larger block or a lower max_nodes"))
        return network

    @validator("streaming")
    @classmethod
    def _own_port(cls, streaming: WorkloadSettings, info: ValidationInfo) -> WorkloadSettings:
        prediction = info.data.get("prediction")
        # Simulated pods are processes of one machine.
        if prediction and info.data.get("cloud") == "simulated" and prediction.port == streaming.port:
            message = f"{streaming.port} is the prediction service's port; simulated services share a machine"
            raise _ContradictionError((("port",), message))
        return streaming


_ELSEWHERE: Final = {"name", "images"}
_IMAGES: Final = TypeAdapter(dict[ServiceName, Digest])


def names(directory: Path = DIRECTORY) -> tuple[str, ...]:
    """The environments that a directory has files for."""
    return tuple(sorted(file.stem for file in directory.glob("*.tfvars")))


def load(name: str, *, directory: Path = DIRECTORY, cloud: Cloud | None = None) -> Environment:
    """Read one environment.

    Args:
        name: the environment's, `<name>.tfvars` being its file.
        directory: where the files are.
        cloud: replaces what the file says, to apply any environment on this machine.

    Raises:
        InvalidEnvironmentError: there is no such file, or it has faults.
    """
    file = directory / f"{name}.tfvars"
    if not re.fullmatch("[a-z][a-z0-9]{0,11}", name):
        expected = "expected a name of up to 12 lower-case letters and digits, the first a letter"
        raise InvalidEnvironmentError([Fault(file, 1, "", expected)])
    try:
        document = tfvars.read(file)
    except OSError as error:
        known = names(directory)
        remedy = _did_you_mean(name, known) or f"; there are {', '.join(known) or 'none'}"
        raise InvalidEnvironmentError([Fault(file, 1, "", f"{error.strerror}{remedy}")]) from None
    for key in _ELSEWHERE & document.values.keys():
        document.refuse((key,), "unknown key; it is not up to this file")
    if cloud is not None:
        document.values["cloud"] = cloud
    try:
        # As JSON, because strict validation then takes lists and text where a tuple or network is meant.
        values = document.values | {"name": name, "images": _images(directory / f"{name}.images.json")}
        environment = Environment.model_validate_json(json.dumps(values))
    except ValidationError as error:
        faults = document.faults + [fault for each in error.errors() for fault in _faults(document, each)]
        raise InvalidEnvironmentError(sorted(faults)) from None
    if document.faults:
        raise InvalidEnvironmentError(document.faults)
    return environment


def load_all(
    selected: Iterable[str] = (), *, directory: Path = DIRECTORY, cloud: Cloud | None = None
) -> tuple[Environment, ...]:
    """Read the selected environments, or all.

    Raises:
        InvalidEnvironmentError: the faults of all of them.
    """
    environments: list[Environment] = []
    faults: list[Fault] = []
    wanted = tuple(selected) or names(directory)
    if not wanted:
        faults.append(Fault(directory, 1, "", "no environment: there is no file *.tfvars"))
    for name in wanted:
        try:
            environments.append(load(name, directory=directory, cloud=cloud))
        except InvalidEnvironmentError as error:
            faults.extend(error.faults)
    if faults:
        raise InvalidEnvironmentError(faults)
    return tuple(environments)


def _images(file: Path) -> dict[ServiceName, Digest]:
    """The digests of an environment's images; none before the first was pushed."""
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return _IMAGES.validate_json(text)
    except ValidationError as error:
        raise InvalidEnvironmentError(
            Fault(file, 1, ".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()
        ) from None


def _at_least(smaller: str, value: int, info: ValidationInfo) -> int:
    least = info.data.get(smaller)
    if least is not None and value < least:
        raise _ContradictionError(((), f"expected at least {smaller}, which is {least}, found {value}"))
    return value


def _unique(values: tuple[str, ...]) -> None:
    _refuse(
        ((index,), f"{value} is listed twice")
        for index, value in enumerate(values)
        if value in values[:index]
    )


def _refuse(faults: Iterator[tuple[Key, str]]) -> None:
    found = tuple(faults)
    if found:
        raise _ContradictionError(*found)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _fields(key: Key) -> dict[str, Any]:
    """The fields of the object at a key, by name."""
    model: type[BaseModel] = Environment
    for part in key:
        model = model.model_fields[str(part)].annotation  # pyright: ignore[reportAssignmentType]
    return {name: field for name, field in model.model_fields.items() if name not in _ELSEWHERE}


def _faults(document: Document, error: ErrorDetails) -> Iterator[Fault]:
    """What pydantic found, in the words of the file."""
    key = error["loc"]
    if any(key[: len(faulty)] == faulty for faulty in document.faulty):
        return
    found = json.dumps(error["input"])
    match error["type"]:
        case "missing":
            yield document.fault(key, f"missing; expected {_fields(key[:-1])[str(key[-1])].description}")
        case "extra_forbidden":
            known = _fields(key[:-1])
            remedy = _did_you_mean(str(key[-1]), known) or f"; there are {', '.join(known)}"
            yield document.fault(key, f"unknown key{remedy}")
        case "literal_error":
            choices = get_args(StackName if key[0] == "stacks" else Cloud)
            expected = " or ".join(choices) if len(choices) == 2 else f"one of {', '.join(choices)}"
            hint = _did_you_mean(str(error["input"]), choices)
            yield document.fault(key, f"expected {expected}, found {found}{hint}")
        case "value_error":
            cause = error.get("ctx", {})["error"]
            contradictions = cause.faults if isinstance(cause, _ContradictionError) else [((), str(cause))]
            for at, message in contradictions:
                yield document.fault((*key, *at), message)
        case "too_short" if error["input"]:
            return  # it has items, each of which is refused already
        case kind:
            expected = _EXPECTED[kind].format(**error.get("ctx", {}))
            yield document.fault(key, f"expected {expected}, found {found}")
