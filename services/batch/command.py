"""What the batch commands have in common."""

import argparse
import datetime
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import msgspec

from services.batch.errors import EXPECTED, is_temporary
from services.contracts.settings import from_environment
from services.forecasting.models import CANDIDATES, Candidates

BEST: Final = "best"

# Options of several commands.
RunDate = Annotated[datetime.date, "ISO 8601; sales of all days before it are known"]
Snapshot = Annotated[str, "the file that `extract` wrote"]
AllOrSnapshot = Annotated[str | None, "the file that `extract` wrote; all sales when not given"]
Model = Annotated[str, f"{BEST}: each series gets what suits it", {"choices": [BEST, *CANDIDATES]}]
Horizon = Annotated[int, "days to forecast"]
DryRun = Annotated[bool, "keep nothing"]

# What argparse is told of types that do not read text themselves.
_READ: Final[dict[type, dict[str, Any]]] = {
    datetime.date: {"type": datetime.date.fromisoformat},
    bool: {
        "type": {"true": True, "false": False}.get,  # in the words of a DAG's parameter
        "choices": [True, False],
        "nargs": "?",
        "const": True,
        "metavar": "true|false",
    },
}


def candidates(model: str) -> Candidates:
    """The forecasters to choose from for a kind of model."""
    return CANDIDATES if model == BEST else {model: CANDIDATES[model]}


def entry_point(command: Callable[..., dict[str, Any]]) -> Callable[..., int]:
    """The `main` of a command: it takes the words of a command line, and returns the exit status.

    Args:
        command: takes settings of an annotated type, then a keyword argument per option, annotated with its
            help; one without a default is required. The text of its module is that of `--help`.
    """
    parser = argparse.ArgumentParser(
        prog=command.__name__, description=sys.modules[command.__module__].__doc__
    )
    settings, *options = inspect.signature(command).parameters.values()
    for parameter in options:
        kind, text, *more = get_args(parameter.annotation)
        kind = next(iter(get_args(kind)), kind)  # X of X | None
        parser.add_argument(
            f"--{parameter.name.replace('_', '-')}",
            help=text,
            default=parameter.default,
            required=parameter.default is parameter.empty,
            **_READ.get(kind, {"type": kind}),
            **(more[0] if more else {}),
        )

    def main(arguments: list[str] | None = None) -> int:
        given = vars(parser.parse_args(arguments))
        return attempt(
            parser.prog, lambda: command(from_environment(settings.annotation, os.environ), **given)
        )

    return main


def attempt(name: str, command: Callable[[], dict[str, Any]]) -> int:
    """Run a command; its result is a line of JSON, an expected error a message and an exit status."""
    try:
        result = msgspec.json.encode(command())
    except EXPECTED as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        return os.EX_TEMPFAIL if is_temporary(error) else 1
    if file := os.environ.get("RESULT_FILE"):  # which Airflow reads, for later tasks
        Path(file).write_bytes(result)
    print(result.decode())  # noqa: T201
    return 0
