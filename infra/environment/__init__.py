"""The environments: what differs between them, read from `infra/environments/<name>.tfvars`."""

from infra.environment.environment import PLATFORM, UPSTREAM, Environment, ImageName, StackName
from infra.environment.faults import InvalidEnvironmentError
from infra.environment.files import DIRECTORY, directory, load, load_all, names, record_image

__all__ = [
    "DIRECTORY",
    "PLATFORM",
    "UPSTREAM",
    "Environment",
    "ImageName",
    "InvalidEnvironmentError",
    "StackName",
    "directory",
    "load",
    "load_all",
    "names",
    "record_image",
]
