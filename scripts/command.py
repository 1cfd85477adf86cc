"""What commands share: their parser, the environment they work on, and one line for what stops them."""

import argparse
import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any, ClassVar, Final

import psutil
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from infra import environment
from infra.environment import Environment, InvalidEnvironmentError
from infra.simulator import SimulatorError, emulators
from scripts.paths import ROOT


class CommandError(Exception):
    """Stops a command; the message says why, and what to do."""

    status: ClassVar[int] = 1


class NoAnswerError(CommandError):
    """A source of facts does not answer, so nothing is known."""

    status = 3


def command(
    name: str, *arguments: Callable[[argparse.ArgumentParser], object], wrong_arguments: int = 2
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Make a command of a `main`, which gets the values of its `arguments` by their names.

    The module's docstring is its help. What stops it is printed after its name; the exit status is that of
    the error, or `wrong_arguments`.
    """

    def decorate(main: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(main)
        def run(words: Sequence[str] | None = None) -> int:
            # This process and those it starts reach loopback past any proxy.
            for variable in ("NO_PROXY", "no_proxy"):
                others = os.environ.get(variable, "")
                os.environ[variable] = f"{emulators.LOOPBACK},{others}".rstrip(",")
            parser = argparse.ArgumentParser(
                description=sys.modules[main.__module__].__doc__,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            for add in arguments:
                add(parser)
            try:
                return main(**vars(parser.parse_args(words)))
            except SystemExit as end:
                raise SystemExit(end.code and wrong_arguments) from None
            except (CommandError, InvalidEnvironmentError, SimulatorError, GoogleAPIError) as error:
                said, status = str(error), error.status if isinstance(error, CommandError) else 1
            except GoogleAuthError as error:
                said, status = login_remedy(error), 1
            print(f"{name}: {said}", file=sys.stderr)
            return status

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


@contextlib.contextmanager
def running(
    *command: str | Path, ending: signal.Signals = signal.SIGTERM, **more: Any
) -> Generator[psutil.Popen]:
    """A program, as by `started`. When the block ends, it and its children get a signal, then SIGKILL."""
    process = started(*command, start_new_session=True, **more)
    try:
        yield process
    finally:
        for each in (ending, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, each)
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(20)


def login_remedy(error: GoogleAuthError) -> str:
    """One line for credentials that are absent or have expired."""
    reason = str(error).partition("\n")[0]
    return f"not logged in to Google Cloud: run `gcloud auth application-default login` ({reason})"


def load_environment(name: str) -> Environment:
    """Load an environment from the folder and for the cloud that variables may name.

    Raises:
        InvalidEnvironmentError: its file cannot be used.
    """
    cloud = "simulated" if os.environ.get("PLATFORM_CLOUD") == "simulated" else None
    return environment.load(name, directory=environment.directory(), cloud=cloud)


def use_environment(target: Environment) -> Environment:
    """Let Google's clients use the emulators of an environment, if it is simulated. Returns it.

    Raises:
        SimulatorError: it is simulated and does not run.
    """
    if target.simulated:
        os.environ.update(emulators.endpoints().environment)
    return target


argument: Final = functools.partial(methodcaller, "add_argument")
"""An argument of a command, as argparse's `add_argument` takes it."""

TARGET: Final = argument("target", metavar="ENVIRONMENT", type=load_environment, help="local, dev ...")
MESSAGES_TARGET: Final = argument(
    "--environment",
    metavar="ENVIRONMENT",
    dest="target",
    type=load_environment,
    default="local",
    help="default: %(default)s, on this machine",
)
