"""Lines to stdout, written by a thread: neither a full disk nor a slow reader holds up who logs."""

import atexit
import collections
import os
import threading
from typing import Final

from prometheus_client import Counter

_MAX_LINES: Final = 10_000
"""Waiting to be written. A line has a few kilobytes at most, most have 600 bytes."""
_BATCH_SECONDS: Final = 0.02
"""Lines of that time are written by one system call."""
_EXIT_SECONDS: Final = 2.0

_dropped = Counter("log_lines_dropped", "Lines of the log that could not be written to stdout.")


class LogOutput:
    """Writes lines to a file descriptor; what cannot be written is dropped and counted."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: collections.deque[bytes] = collections.deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._torn = False  # the last line was written in part
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Write a line, without its end, soon. Any thread may call it."""
        if len(self._lines) >= _MAX_LINES:
            _dropped.inc()
            return
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what waits, unless that takes long."""
        self._stop.set()
        self._wake.set()
        self._thread.join(_EXIT_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(_BATCH_SECONDS)
            self._wake.clear()
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        text = b"\n".join([*lines, b""])
        if self._torn:
            text = b"\n" + text
        written = 0
        try:
            while written < len(text):
                written += os.write(self._descriptor, text[written:])
        except OSError:
            _dropped.inc(text.count(b"\n", written))
        if written:
            self._torn = text[written - 1 : written] != b"\n"


stdout: Final = LogOutput(1)
atexit.register(stdout.close)
