"""W3C Trace Context (https://www.w3.org/TR/trace-context/): the trace that a request belongs to."""

import os
import re
from collections.abc import Iterator
from typing import Final

import msgspec

LOG_FIELD: Final = "logging.googleapis.com/trace"
"""Field of a JSON log line by which Cloud Logging links it to its trace:
https://cloud.google.com/logging/docs/structured-logging#special-payload-fields"""

# Version 00, or a later one, which may append fields; ff is invalid.
_TRACEPARENT: Final = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_TRACE_DIGITS: Final = 32
_SPAN_DIGITS: Final = 16
_POOL_IDS: Final = 256


class Trace(msgspec.Struct, frozen=True, gc=False):
    """The span of a request in its trace.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        sampled: Whether the caller records the trace.
    """

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def parent(self) -> str:
        """The `traceparent` header of the response."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


NONE: Final = Trace("0" * _TRACE_DIGITS, "0" * _SPAN_DIGITS, sampled=False)


def begin(traceparent: bytes | None) -> Trace:
    """A span of the caller's trace, or of a new one if the header is absent or invalid."""
    trace_id, span_id = next(_ids)
    match = _TRACEPARENT.fullmatch(traceparent.decode("latin-1")) if traceparent is not None else None
    if match is None:
        return Trace(trace_id, span_id, sampled=False)
    return Trace(match[1], span_id, sampled=bool(int(match[3], 16) & 1))


def trace_id(traceparent: str) -> str | None:
    """The trace id of a `traceparent`; None if it is invalid."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return match[1] if match else None


def log_prefix(project: str | None) -> str:
    """What precedes a trace id in LOG_FIELD: nothing outside of Google Cloud."""
    return f"projects/{project}/traces/" if project else ""


def _new_ids() -> Iterator[tuple[str, str]]:
    """Random ids of a trace and a span; one system call makes many."""
    digits = _TRACE_DIGITS + _SPAN_DIGITS
    while True:
        pool = os.urandom(_POOL_IDS * digits // 2).hex()
        for start in range(0, len(pool), digits):
            middle = start + _TRACE_DIGITS
            yield pool[start:middle], pool[middle : start + digits]


_ids: Final = _new_ids()
