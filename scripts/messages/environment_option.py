"""Which environment a command works on: `--environment`, this machine's unless another is named."""

import argparse
import os
import sys

from google.api_core import exceptions

from infra import environment
from infra.environment import Environment, InvalidEnvironmentError
from infra.simulator import emulators

UNUSABLE = (InvalidEnvironmentError, emulators.EmulatorError, exceptions.GoogleAPIError)


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--environment`."""
    parser.add_argument("--environment", default="local", help="default: %(default)s, on this machine")


def load(name: str) -> Environment:
    """The environment, with the clients of a simulated one pointed to its emulators.

    Raises:
        InvalidEnvironmentError: its file cannot be used.
        EmulatorError: it is simulated and not up.
    """
    target = environment.load(name)
    if target.simulated:
        os.environ.update(emulators.endpoints().environment)
    return target


def fail(command: str, error: Exception) -> int:
    """Say in one line why a command ends; returns its exit status."""
    print(f"{command}: {error}", file=sys.stderr)
    return 1
