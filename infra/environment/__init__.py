"""The environments: what differs between them, read from `infra/environments/<name>.tfvars`."""

from infra.environment.environment import PLATFORM, UPSTREAM, Environment, StackName
from infra.environment.files import InvalidEnvironmentError, directory, load, load_all, names, record_image
from infra.environment.services import IMAGES

__all__ = [
    "IMAGES",
    "PLATFORM",
    "UPSTREAM",
    "Environment",
    "InvalidEnvironmentError",
    "StackName",
    "directory",
    "load",
    "load_all",
    "names",
    "record_image",
]
