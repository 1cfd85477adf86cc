"""Start and end of a service process: settings, logs, listener, signals, drain."""

import asyncio
import datetime
import gc
import logging
import os
import signal
import sys
from typing import Final, TypeVar

import msgspec

from services import log_output
from services.contracts.settings import ServerSettings, SettingsError, from_environment
from services.http.server import Server

_log = logging.getLogger(__name__)

FINISH_SECONDS: Final = 15
"""From the end of the drain until what is unfinished is given up."""

Settings = TypeVar("Settings", bound=msgspec.Struct)


class JsonLines(logging.Handler):
    """Writes records to stdout in JSON, with the fields of Cloud Logging and those in `record.fields`.

    See https://cloud.google.com/logging/docs/structured-logging#special-payload-fields.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, soon; its traceback is part of the message, where Error Reporting looks for it."""
        try:
            line = {
                "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC),
                "severity": record.levelname,
                "logger": record.name,
                "message": self.format(record),
                **getattr(record, "fields", {}),
            }
            log_output.stdout.write(msgspec.json.encode(line))
        except Exception:
            self.handleError(record)


def start(kind: type[Settings]) -> Settings:
    """Set up logging and read the settings from the environment.

    What was imported is kept from the garbage collector, which would go through it again and again.

    Raises:
        SystemExit: with code 2, after one line on stderr, if a setting is missing or invalid.
    """
    gc.freeze()
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[JsonLines()])
    try:
        return from_environment(kind, os.environ)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 -- readable in a terminal
        raise SystemExit(2) from None


async def listen(server: Server, settings: ServerSettings) -> asyncio.Event:
    """Make the server listen. Returns the event that SIGTERM and SIGINT set; readiness is 503 from then on.

    Raises:
        SystemExit: with code 1, after one line on stderr, if the address cannot be listened on.
    """
    stopping = asyncio.Event()

    def stop() -> None:
        server.application.draining = True
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    host, port = settings.host, settings.port
    try:
        await server.listen(host, port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        print(f"error: cannot listen on {host}:{port}: {reason}", file=sys.stderr)  # noqa: T201 -- as above
        raise SystemExit(1) from None
    return stopping


async def drain(server: Server, seconds: float) -> bool:
    """Answer requests until load balancers have noticed that it is not ready, then close the server.

    Returns whether the requests in flight were answered in time.
    """
    _log.info("draining for %s s", seconds)
    await asyncio.sleep(seconds)
    finished = await server.close(FINISH_SECONDS)
    if finished:
        _log.info("stopped")
    else:
        _log.error("requests still in flight after %s s are aborted", FINISH_SECONDS)
    return finished
