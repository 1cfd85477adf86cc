"""W3C Trace Context (https://www.w3.org/TR/trace-context/): which trace a request belongs to."""

import os
import re
from collections.abc import Iterator
from typing import Final

import msgspec

# Version 00, or a later one, which may have more at its end; ff is none.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_TRACE_DIGITS: Final = 32
_SPAN_DIGITS: Final = 16
_IDS: Final = 256  # made at a time


class Trace(msgspec.Struct, frozen=True, gc=False):
    """The part a request has in a trace.

    Attributes:
        trace_id: 32 hexadecimal digits.
        caller: The caller's span, 16 hexadecimal digits; empty if there is none.
        span_id: The request's own span.
        sampled: Whether the caller keeps the trace.
    """

    trace_id: str
    caller: str
    span_id: str
    sampled: bool

    @property
    def parent(self) -> str:
        """The `traceparent` that goes with the answer."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


NONE: Final = Trace("0" * _TRACE_DIGITS, "", "0" * _SPAN_DIGITS, sampled=False)


def begin(traceparent: bytes | None) -> Trace:
    """A span of the caller's trace, or of a new one when the header is absent or wrong."""
    trace_id, span_id = next(_ids)
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    if match is None:
        return Trace(trace_id, "", span_id, False)
    trace_id, caller, flags = match.groups()
    return Trace(trace_id.decode(), caller.decode(), span_id, bool(int(flags, 16) & 1))


def _new_ids() -> Iterator[tuple[str, str]]:
    """Random ids of a trace and a span."""
    digits = _TRACE_DIGITS + _SPAN_DIGITS
    while True:
        pool = os.urandom(_IDS * digits // 2).hex()
        for start in range(0, len(pool), digits):
            middle = start + _TRACE_DIGITS
            yield pool[start:middle], pool[middle : start + digits]


_ids: Final = _new_ids()
