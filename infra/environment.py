"""The environments: what differs between them, read from `infra/environments/<name>.tfvars`.

A file that cannot be used is refused with every fault in it, each with file, line, key and what was expected.
"""

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic import field_validator as validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from infra import tfvars
from infra.addresses import AddressPlan
from infra.sections import (
    AlertingSettings,
    BatchSection,
    BudgetSettings,
    CiSettings,
    ClusterSettings,
    ComposerSettings,
    DataSettings,
    EncryptionSettings,
    GatewaySettings,
    MessagingSettings,
    ObjectiveSettings,
    PredictionWorkload,
    RegistrySettings,
    StreamingWorkload,
)
from infra.tfvars import Document, Fault, Key
from infra.value_types import (
    ContradictionError,
    Digest,
    ProjectId,
    Region,
    Section,
    Zone,
    refuse,
    unique,
)

DIRECTORY: Final = Path(__file__).parent / "environments"

Cloud = Literal["google", "simulated"]
StackName = Literal[
    "foundation", "registry", "cluster", "data", "messaging", "orchestration", "services", "observability"
]

ImageName = Literal["prediction", "streaming", "batch"]

PLATFORM: Final = "sales-forecast"
"""Name of what there is one of per environment: the network, the cluster, the image repository ..."""

UPSTREAM: Final[Mapping[StackName, tuple[StackName, ...]]] = {
    "foundation": (),
    "registry": ("foundation",),
    "cluster": ("foundation", "registry"),
    "data": ("foundation",),
    "messaging": ("foundation", "data"),
    "orchestration": ("foundation", "registry", "cluster", "data"),
    "services": ("registry", "cluster", "data", "messaging"),
    # An objective cannot be about a metric that nobody has written yet.
    "observability": ("foundation", "messaging", "services"),
}
"""The stacks each stack builds on, in an order in which all can be deployed."""


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
"""What a value should have been, by the type of pydantic's error."""


class InvalidEnvironmentError(Exception):
    """Environment files that cannot be used.

    Attributes:
        faults: everything wrong with them, in the order of the files.
    """

    def __init__(self, faults: Iterable[Fault]):
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class Environment(Section):
    """One environment.

    Its name is its file's. `images` are the digests of what was pushed for it, from `<name>.images.json`.
    """

    name: str
    images: dict[ImageName, Digest]
    cloud: Cloud = Field(description="google, or simulated: emulators and processes on this machine")
    project_id: ProjectId = Field(description="Google Cloud project that holds this environment alone")
    project_number: int = Field(
        ge=1, description="number of that project; the addresses of Google's service agents contain it"
    )
    region: Region = Field(description="region of everything that is not global")
    zones: tuple[Zone, ...] = Field(min_length=1, description="zones of the region that nodes run in")
    stacks: tuple[StackName, ...] = Field(min_length=1, description="stacks that this environment has")
    deletion_protection: bool = Field(description="whether Terraform refuses to destroy data and clusters")
    alerting: AlertingSettings = Field(description="who is told of what")
    ci: CiSettings | None = Field(
        default=None, description="who may plan and apply from GitHub Actions; without it, nobody"
    )
    encryption: EncryptionSettings | None = Field(
        default=None, description="a key of the project's own, instead of Google's"
    )
    registry: RegistrySettings = Field(default=RegistrySettings(), description="how long images stay")
    cluster: ClusterSettings = Field(description="the Kubernetes cluster")
    network: IPv4Network = Field(description="block from which all ranges are cut, such as 10.0.0.0/16")
    data: DataSettings = Field(DataSettings(), description="tables and buckets")
    composer: ComposerSettings = Field(ComposerSettings(), description="managed Airflow")
    batch: BatchSection = Field(BatchSection(), description="the batch pipeline")
    gateway: GatewaySettings | None = Field(
        None, description="the way in from the internet; without it nobody outside the cluster gets in"
    )
    prediction: PredictionWorkload = Field(description="the prediction service")
    streaming: StreamingWorkload = Field(description="the streaming service")
    messaging: MessagingSettings = Field(MessagingSettings(), description="subscriptions")
    slo: ObjectiveSettings = Field(ObjectiveSettings(), description="what the users are promised")
    budget: BudgetSettings | None = Field(None, description="what it may cost in a month")

    @property
    def simulated(self) -> bool:
        """Whether it runs on this machine."""
        return self.cloud == "simulated"

    @property
    def state_bucket(self) -> str:
        """The bucket of Terraform's states. It is older than all stacks: scripts/bootstrap.sh makes it."""
        return f"{self.project_id}-tfstate"

    @property
    def image_repository(self) -> str:
        """With which the names of its images begin."""
        return f"{self.region}-docker.pkg.dev/{self.project_id}/{PLATFORM}"

    @property
    def addresses(self) -> AddressPlan:
        """The ranges of its network."""
        return AddressPlan.carve(self.network)

    @validator("zones")
    @classmethod
    def _in_region(cls, zones: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        unique(zones)
        region = info.data.get("region")
        refuse(
            ((index,), f"expected a zone of {region}, found {zone}")
            for index, zone in enumerate(zones)
            if region and zone.rpartition("-")[0] != region
        )
        return zones

    @validator("stacks")
    @classmethod
    def _with_upstream(cls, stacks: tuple[StackName, ...]) -> tuple[StackName, ...]:
        unique(stacks)
        refuse(
            ((index,), f"{stack} needs the stack {upstream}, which is not listed")
            for index, stack in enumerate(stacks)
            for upstream in UPSTREAM[stack]
            if upstream not in stacks
        )
        return stacks

    @validator("network")
    @classmethod
    def _roomy(cls, network: IPv4Network, info: ValidationInfo) -> IPv4Network:
        room = AddressPlan.carve(network).most_nodes
        if "cluster" in info.data and "zones" in info.data:
            nodes = info.data["cluster"].most_nodes(len(info.data["zones"]))
            if nodes > room:
                message = f"{network} has room for {room} nodes and their pods; the cluster may reach {nodes}"
                remedy = "Take a larger block or lower limits of the node pools"
                raise ContradictionError(((), f"{message}, upgrades included. {remedy}"))
        return network

    @validator("prediction")
    @classmethod
    def _counted(cls, prediction: PredictionWorkload, info: ValidationInfo) -> PredictionWorkload:
        if prediction.autoscaling.by == "traffic" and info.data.get("gateway") is None:
            message = "traffic is counted at the Gateway: add gateway = { hostname = ... }, or take cpu"
            raise ContradictionError((("autoscaling", "by"), message))
        return prediction

    @validator("streaming")
    @classmethod
    def _reachable(cls, streaming: StreamingWorkload, info: ValidationInfo) -> StreamingWorkload:
        faults: list[tuple[Key, str]] = []
        prediction = info.data.get("prediction")
        # Simulated pods are processes of one machine.
        if prediction and info.data.get("cloud") == "simulated" and prediction.port == streaming.port:
            message = f"{streaming.port} is the prediction service's port; simulated services share a machine"
            faults.append((("port",), message))
        push = streaming.delivery == "push"
        if push and info.data.get("gateway") is None:
            message = "Pub/Sub pushes through the Gateway: add gateway = { hostname = ... }, or take pull"
            faults.append((("delivery",), message))
        if push and "services" not in info.data.get("stacks", ("services",)):
            faults.append(
                (("delivery",), "there is nobody to push to: list the stack services, or take pull")
            )
        if not push and streaming.autoscaling.by == "traffic":
            message = 'no traffic reaches it through the Gateway: take cpu or backlog, or delivery = "push"'
            faults.append((("autoscaling", "by"), message))
        refuse(faults)
        return streaming

    @validator("messaging")
    @classmethod
    def _deliverable(cls, messaging: MessagingSettings, info: ValidationInfo) -> MessagingSettings:
        streaming = info.data.get("streaming")
        # https://cloud.google.com/pubsub/docs/exactly-once-delivery
        if messaging.exactly_once and streaming and streaming.delivery == "push":
            message = "Pub/Sub pushes at least once: take false, or pull as streaming.delivery"
            raise ContradictionError((("exactly_once",), message))
        return messaging


_ELSEWHERE: Final = {"name", "images"}
_IMAGES: Final = TypeAdapter(dict[ImageName, Digest])


def directory() -> Path:
    """Where commands find the files: the folder that PLATFORM_ENVIRONMENTS names, or `DIRECTORY`."""
    return Path(os.environ.get("PLATFORM_ENVIRONMENTS") or DIRECTORY).resolve()


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


def record_image(name: str, image: ImageName, digest: str, *, directory: Path = DIRECTORY) -> Path:
    """Note the digest of a pushed image for an environment; the whole file is replaced, keys sorted.

    Returns:
        The file.

    Raises:
        InvalidEnvironmentError: what is there already has faults.
    """
    file = directory / f"{name}.images.json"
    images = _images(file) | {image: digest}
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(images, indent=2, sort_keys=True) + "\n")
    temporary.replace(file)
    return file


def _images(file: Path) -> dict[ImageName, Digest]:
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


def _did_you_mean(word: str, known: Iterable[str]) -> str:
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
    elsewhere = frozenset[str]() if key else _ELSEWHERE
    return {name: field for name, field in section.model_fields.items() if name not in elsewhere}


def _faults(document: Document, error: ErrorDetails) -> Iterator[Fault]:
    """What pydantic found, in the words of the file."""
    key = error["loc"]
    if any(key[: len(faulty)] == faulty for faulty in document.faulty):
        return
    found = json.dumps(error["input"], default=str)  # a default is no JSON
    match error["type"]:
        case "missing":
            yield document.fault(key, f"missing; expected {_fields(key[:-1])[str(key[-1])].description}")
        case "extra_forbidden":
            known = _fields(key[:-1])
            remedy = _did_you_mean(str(key[-1]), known) or f"; there are {', '.join(known)}"
            yield document.fault(key, f"unknown key{remedy}")
        case "literal_error":
            choices = [str(each) for each in get_args(_declared(key))]
            expected = " or ".join(choices) if len(choices) <= 2 else f"one of {', '.join(choices)}"
            hint = _did_you_mean(str(error["input"]), choices)
            yield document.fault(key, f"expected {expected}, found {found}{hint}")
        case "value_error":
            cause = error.get("ctx", {})["error"]
            contradictions = cause.faults if isinstance(cause, ContradictionError) else [((), str(cause))]
            for at, message in contradictions:
                yield document.fault((*key, *at), message)
        case "too_short" if error["input"]:
            return  # it has items, each of which is refused already
        case kind if kind in _EXPECTED:
            expected = _EXPECTED[kind].format(**error.get("ctx", {}))
            yield document.fault(key, f"expected {expected}, found {found}")
        case _:
            yield document.fault(key, f"{error['msg'][0].lower()}{error['msg'][1:]}, found {found}")
