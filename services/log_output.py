"""Lines to stdout, written by a thread: neither a full disk nor a slow reader holds up who logs."""

import atexit
import os
import queue
import threading
import time
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
