"""W3C Trace Context (https://www.w3.org/TR/trace-context/): which trace a request belongs to."""

import random
import re
from typing import Final, NamedTuple

# Version 00, or a later one, which may have more at its end; ff is none.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_random_bits = random.Random().getrandbits  # noqa: S311 -- ids are to be unique, not secret


class Trace(NamedTuple):
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
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


NONE: Final = Trace("0" * 32, "", "0" * 16, sampled=False)


def begin(traceparent: bytes | None) -> Trace:
    """A span of the caller's trace, or of a new one when the header is absent or wrong."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    if match is None:
        digits = f"{_random_bits(192):048x}"
        return Trace(digits[:32], "", digits[32:], False)
    trace_id, caller, flags = match.groups()
    return Trace(trace_id.decode(), caller.decode(), f"{_random_bits(64):016x}", bool(int(flags, 16) & 1))
