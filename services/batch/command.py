"""What the batch commands have in common."""

import argparse
import datetime
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from services.batch.errors import EXPECTED, is_temporary
from services.contracts.settings import BatchSettings, from_environment
from services.forecasting.choice import CANDIDATES
from services.forecasting.training import Candidates

RESULT_FILE: Final = "RESULT_FILE"
"""Environment variable: a file for the result, besides standard output; Airflow passes it to later tasks."""

BEST: Final = "best"

# Exit statuses: it cannot be done as things are; it may be done when it is tried again (as in sysexits.h).
_FAILURE: Final = 1
_TEMPORARY_FAILURE: Final = 75

Option = tuple[str, dict[str, Any]]
"""An option of a command line, and the keyword arguments that argparse takes for it."""

RUN_DATE: Final[Option] = (
    "--run-date",
    {
        "type": datetime.date.fromisoformat,
        "required": True,
        "help": "ISO 8601; sales of all days before it are known",
    },
)
SNAPSHOT: Final[Option] = (
    "--snapshot",
    {"required": True, "help": "the file that `extract` wrote"},
)
MODEL: Final[Option] = (
    "--model",
    {"choices": [BEST, *CANDIDATES], "default": BEST, "help": f"{BEST}: each series gets what suits it"},
)
DRY_RUN: Final[Option] = (
    "--dry-run",
    {
        "type": {"true": True, "false": False}.get,  # in the words of a DAG's parameter
        "choices": [True, False],
        "default": False,
        "metavar": "true|false",
        "help": "keep nothing",
    },
)


def candidates(model: str) -> Candidates:
    """The forecasters to choose from for a kind of model."""
    return CANDIDATES if model == BEST else {model: CANDIDATES[model]}


class EntryPoint:
    """The `main` of a command, which is called with the settings of the environment and its options.

    Args:
        command: takes the settings, then a keyword argument per option.
        description: for `--help`.
        options: of the command line.
        beam: whether those of Beam may follow, which the command takes as `beam`; `--runner` comes first.
    """

    def __init__(
        self,
        command: Callable[..., dict[str, Any]],
        description: str | None,
        *options: Option,
        beam: bool = False,
    ) -> None:
        self._command = command
        self._beam = beam
        self._parser = argparse.ArgumentParser(prog=command.__name__, description=description)
        for flag, settings in options:
            self._parser.add_argument(flag, **settings)

    def __call__(self, arguments: list[str] | None = None) -> int:
        """Run the command; returns the exit status."""
        words = sys.argv[1:] if arguments is None else arguments
        named = [self._beam and word.startswith("--runner") for word in words]
        own = named.index(True) if any(named) else len(words)
        given = vars(self._parser.parse_args(words[:own]))
        if words[own:]:
            given["beam"] = words[own:]
        return attempt(
            self._parser.prog, lambda: self._command(from_environment(BatchSettings, os.environ), **given)
        )


def attempt(name: str, command: Callable[[], dict[str, Any]]) -> int:
    """Run a command; its result is a line of JSON, an expected error a message and an exit status."""
    try:
        result = msgspec.json.encode(command())
    except EXPECTED as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        return _TEMPORARY_FAILURE if is_temporary(error) else _FAILURE
    if file := os.environ.get(RESULT_FILE):
        Path(file).write_bytes(result)
    print(result.decode())  # noqa: T201
    return 0
