"""Environment files: `infra/environments/<name>.tfvars`, and the digests of images beside them.

A faulty file is refused with all its faults, each with file, line, key and expected value. Once every value
is valid alone, those that contradict each other are refused in the same way.
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from infra.environment import tfvars
from infra.environment.environment import Cloud, Environment
from infra.environment.faults import ELSEWHERE, InvalidEnvironmentError, did_you_mean, faults_of
from infra.environment.services import ImageName
from infra.environment.tfvars import Fault
from infra.environment.value_types import Digest

DIRECTORY: Final = Path(__file__).parents[1] / "environments"

_IMAGES: Final = TypeAdapter(dict[ImageName, Digest])


def directory() -> Path:
    """Folder of the files: PLATFORM_ENVIRONMENTS, or `DIRECTORY`."""
    return Path(os.environ.get("PLATFORM_ENVIRONMENTS") or DIRECTORY).resolve()


def names(directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Names of the environments in a folder."""
    return tuple(sorted(file.stem for file in directory.glob("*.tfvars")))


def load(name: str, *, directory: Path = DIRECTORY, cloud: Cloud | None = None) -> Environment:
    """Read one environment.

    Args:
        name: name of the environment; its file is `<name>.tfvars`.
        directory: folder of the files.
        cloud: replaces the value in the file: any environment can be applied on this machine.

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
        known = names(directory)
        remedy = did_you_mean(name, known) or f"; there are {', '.join(known) or 'none'}"
        raise InvalidEnvironmentError([Fault(file, 1, "", f"{error.strerror}{remedy}")]) from None
    for key in ELSEWHERE & document.values.keys():
        document.refuse((key,), "unknown key; it is not set in this file")
    if cloud is not None:
        document.values["cloud"] = cloud
    try:
        environment = Environment.model_validate(
            document.values | {"name": name, "images": _images(directory / f"{name}.images.json")}
        )
    except ValidationError as error:
        faults = document.faults + [fault for each in error.errors() for fault in faults_of(document, each)]
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


def record_image(name: str, image: str, digest: str, *, directory: Path = DIRECTORY) -> Path:
    """Record the digest of a pushed image; the file is replaced as a whole, with sorted keys.

    Returns:
        The file.

    Raises:
        InvalidEnvironmentError: the existing file is faulty.
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
        text = file.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return _IMAGES.validate_json(text)
    except ValidationError as error:
        raise InvalidEnvironmentError(
            Fault(file, 1, ".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()
        ) from None
