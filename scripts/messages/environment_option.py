"""The option `--environment`: the environment that a command works on, by default the local one."""

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
    """Load the environment; if it is simulated, Google's clients use its emulators.

    Raises:
        InvalidEnvironmentError: its file cannot be used.
        EmulatorError: it is simulated and does not run.
    """
    target = environment.load(name)
    if target.simulated:
        os.environ.update(emulators.endpoints().environment)
    return target


def fail(command: str, error: Exception) -> int:
    """Print why a command fails; returns its exit status."""
    print(f"{command}: {error}", file=sys.stderr)
    return 1
