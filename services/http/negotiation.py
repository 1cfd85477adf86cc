"""Content negotiation and conditional requests (RFC 9110, 12.5 and 13.1.2).

Clients repeat their headers, so parsed values are cached.
"""

import functools
import re
from typing import Final

_QUALITY: Final = re.compile(rb"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
MAX_BYTES: Final = 512
"""Of a header that is negotiated by; clients send less. What is longer would fill the caches."""


@functools.lru_cache(maxsize=256)
def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether the client accepts a gzip-compressed response."""
    qualities = _qualities(accept_encoding)
    return qualities.get(b"gzip", qualities.get(b"*", 0.0)) > 0


@functools.lru_cache(maxsize=256)
def prefers_csv(accept: bytes) -> bool:
    """Whether the client prefers CSV to JSON: by quality, then by naming it more precisely."""
    qualities = _qualities(accept)

    def preference(media_type: bytes) -> tuple[float, int]:
        ranges = (media_type, media_type.partition(b"/")[0] + b"/*", b"*/*")
        return next(
            ((qualities[name], -vagueness) for vagueness, name in enumerate(ranges) if name in qualities),
            (0.0, -len(ranges)),
        )

    csv = preference(b"text/csv")
    return csv[0] > 0 and csv > preference(b"application/json")


def matches(if_none_match: bytes, etag: str) -> bool:
    """Whether an If-None-Match header names an entity tag."""
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag.removeprefix("W/").encode() in tags or tags == [b"*"]


def _qualities(header: bytes) -> dict[bytes, float]:
    """Name to quality (`q`) in a header such as `gzip, br;q=0.5`."""
    qualities: dict[bytes, float] = {}
    for part in header.lower().split(b","):
        name, *parameters = [each.strip() for each in part.split(b";")]
        quality = next((each[2:] for each in parameters if each.startswith(b"q=")), b"1")
        qualities[name] = float(quality) if _QUALITY.fullmatch(quality) else 0.0
    return qualities
