"""What commands share: their parser, the environment they work on, and one line for what stops them."""

import argparse
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec

import psutil
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from infra import environment
from infra.environment import Environment, InvalidEnvironmentError
from infra.simulator import SimulatorError, emulators
from scripts.paths import ROOT

_Arguments = ParamSpec("_Arguments")


class CommandError(Exception):
    """Stops a command; the message says why, and what to do."""


def command(name: str) -> Callable[[Callable[_Arguments, int]], Callable[_Arguments, int]]:
    """Make a command of a `main`: what stops it is printed below the command's name, and the status is 1."""

    def decorate(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
        @functools.wraps(main)
        def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> int:
            # This process and those it starts reach loopback past any proxy.
            for variable in ("NO_PROXY", "no_proxy"):
                others = os.environ.get(variable, "")
                os.environ[variable] = f"{emulators.LOOPBACK},{others}".rstrip(",")
            try:
                return main(*args, **kwargs)
            except GoogleAuthError as error:
                print(f"{name}: {login_remedy(error)}", file=sys.stderr)
            except (CommandError, InvalidEnvironmentError, SimulatorError, GoogleAPIError) as error:
                print(f"{name}: {error}", file=sys.stderr)
            return 1

        return run

    return decorate


def captured(
    *command: str | Path, cwd: Path = ROOT, variables: Mapping[str, str] | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit status; `text` is its input."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(variables or {})},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def started(
    *command: str | Path, log: Path, cwd: Path = ROOT, variables: Mapping[str, str] | None = None, **more: Any
) -> psutil.Popen:
    """Start a program that reads nothing and appends what it prints to a file."""
    with log.open("ab") as out:
        return psutil.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            **more,
        )


def login_remedy(error: GoogleAuthError) -> str:
    """One line for credentials that are absent or have expired."""
    reason = str(error).partition("\n")[0]
    return f"not logged in to Google Cloud: run `gcloud auth application-default login` ({reason})"


def command_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help shows a docstring as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def message_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--environment`, for the commands that send and receive messages."""
    result = command_parser(description)
    result.add_argument("--environment", default="local", help="default: %(default)s, on this machine")
    return result


def load_environment(name: str) -> Environment:
    """Load an environment from the folder and for the cloud that variables may name.

    Raises:
        InvalidEnvironmentError: its file cannot be used.
    """
    cloud = "simulated" if os.environ.get("PLATFORM_CLOUD") == "simulated" else None
    return environment.load(name, directory=environment.directory(), cloud=cloud)


def use_environment(name: str) -> Environment:
    """Load an environment; if it is simulated, Google's clients use its emulators.

    Raises:
        InvalidEnvironmentError: its file cannot be used.
        SimulatorError: it is simulated and does not run.
    """
    target = load_environment(name)
    if target.simulated:
        os.environ.update(emulators.endpoints().environment)
    return target
