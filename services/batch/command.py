"""What the batch commands have in common."""

import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from services.batch.warehouse import LoadError
from services.contracts.settings import BatchSettings, SettingsError, from_environment
from services.forecasting.artifact import CorruptModelError
from services.forecasting.panel import UnusableSalesError
from services.forecasting.registry import PointerMovedError, UnknownVersionError, VersionExistsError
from services.forecasting.sales_file import DataError

# Whose messages say what to do; anything else is a bug and shows its traceback.
_EXPECTED = (
    CorruptModelError,
    DataError,
    GoogleAPIError,
    GoogleAuthError,
    LoadError,
    OSError,
    PointerMovedError,
    SettingsError,
    UnknownVersionError,
    UnusableSalesError,
    VersionExistsError,
)


def run(name: str, command: Callable[[BatchSettings], dict[str, Any]]) -> int:
    """Run a command with the settings of the environment; returns the exit status."""
    try:
        result = command(from_environment(BatchSettings, os.environ))
    except _EXPECTED as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(msgspec.json.encode(result).decode())  # noqa: T201
    return 0
