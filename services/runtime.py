"""Start and end of a service process: settings, logs, listener, signals, drain."""

import asyncio
import atexit
import datetime
import gc
import logging
import os
import queue
import signal
import sys
import threading
import time
from typing import Final

import msgspec
from prometheus_client import Counter

from services.contracts.settings import ServerSettings, Settings, SettingsError, from_environment
from services.http.server import Server

_log = logging.getLogger(__name__)

FINISH_SECONDS: Final = 15
"""From the end of the drain until what is unfinished is given up."""
_MAX_LINES: Final = 10_000
"""Waiting to be written. A line has a few kilobytes at most, most have 600 bytes."""
_BATCH_SECONDS: Final = 0.02
"""Lines of that time are written by one system call."""
_EXIT_SECONDS: Final = 2.0
"""For what waits when the process ends."""

_dropped = Counter("log_lines_dropped", "Lines of the log that could not be written to stdout.")


class LogOutput:
    """Writes lines to a file descriptor in a thread: neither a full disk nor a slow reader holds up who logs.

    What cannot be written is dropped and counted.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # None ends the thread
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Write a line, without its end, soon. Any thread may call it."""
        if self._lines.qsize() >= _MAX_LINES:
            _dropped.inc()
        else:
            self._lines.put(line)

    def close(self) -> None:
        """Write what waits, unless that takes long."""
        self._lines.put(None)
        self._thread.join(_EXIT_SECONDS)

    def _run(self) -> None:
        torn = False  # the last line was written in part
        closed = False
        while not closed:
            lines = [self._lines.get()]
            time.sleep(_BATCH_SECONDS)
            lines += [self._lines.get() for _ in range(self._lines.qsize())]
            closed = None in lines
            text = b"".join(line + b"\n" for line in lines if line is not None)
            if torn:
                text = b"\n" + text
            written = 0
            try:
                while written < len(text):
                    written += os.write(self._descriptor, text[written:])
            except OSError:
                _dropped.inc(text.count(b"\n", written))
            if written:
                torn = text[written - 1 : written] != b"\n"


stdout: Final = LogOutput(1)
atexit.register(stdout.close)


class _JsonLines(logging.Handler):
    """Writes records to stdout in JSON, with the fields of Cloud Logging and those in `record.fields`.

    See https://cloud.google.com/logging/docs/structured-logging#special-payload-fields.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # A traceback is part of the message, where Error Reporting looks for it.
            line = {
                "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC),
                "severity": record.levelname,
                "logger": record.name,
                "message": self.format(record),
                **getattr(record, "fields", {}),
            }
            stdout.write(msgspec.json.encode(line))
        except Exception:
            self.handleError(record)


def start(kind: type[Settings]) -> Settings:
    """Set up logging and read the settings from the environment.

    Raises:
        SystemExit: with code 2, after one line on stderr, if a setting is missing or invalid.
    """
    gc.freeze()  # what was imported, which the collector would go through again and again
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_JsonLines()])
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
