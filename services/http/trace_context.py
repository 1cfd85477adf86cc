"""W3C Trace Context (https://www.w3.org/TR/trace-context/): the trace that a request belongs to."""

import os
import re
from typing import Final

LOG_FIELD: Final = "logging.googleapis.com/trace"
"""Field of a JSON log line by which Cloud Logging links it to its trace:
https://cloud.google.com/logging/docs/structured-logging#special-payload-fields"""

# Version 00, or a later one, which may append fields; ff is invalid.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)


def begin(traceparent: bytes | None) -> bytes:
    """The `traceparent` of a span of the caller's trace; of a new one if the header is absent or invalid."""
    ids = os.urandom(24).hex()
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    if match is None:
        return f"00-{ids[:32]}-{ids[32:]}-00".encode()
    return b"00-%b-%b-0%d" % (match[1], ids[32:].encode(), int(match[3], 16) & 1)


def trace_id(traceparent: str) -> str | None:
    """The trace id of a `traceparent`; None if it is invalid."""
    match = _TRACEPARENT.fullmatch(traceparent.encode())
    return match[1].decode() if match else None


def log_prefix(project: str | None) -> str:
    """What precedes a trace id in LOG_FIELD: nothing outside of Google Cloud."""
    return f"projects/{project}/traces/" if project else ""
