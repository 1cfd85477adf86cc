"""What every service process does the same way: settings at the start, structured logs throughout."""

import datetime
import logging
import os
import sys
from typing import TypeVar

import msgspec

from services.contracts.settings import SettingsError, from_environment

Settings = TypeVar("Settings", bound=msgspec.Struct)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the fields Cloud Logging lifts out of it and those in a record's `fields`.

    See https://cloud.google.com/logging/docs/structured-logging#special-payload-fields.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; a traceback is part of the message, where Error Reporting looks for it."""
        return msgspec.json.encode(
            {
                "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC),
                "severity": record.levelname,
                "logger": record.name,
                "message": super().format(record),
                **getattr(record, "fields", {}),
            }
        ).decode()


def start(kind: type[Settings]) -> Settings:
    """Set up logging and read the settings from the environment.

    Raises:
        SystemExit: with code 2, after one line on stderr, when a setting is missing or wrong.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        return from_environment(kind, os.environ)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 -- for the person who starts it by hand
        raise SystemExit(2) from None
