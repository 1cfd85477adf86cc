"""Content negotiation and conditional requests (RFC 9110, 12.5 and 13.1.2).

Clients repeat their headers, so parsed values are cached.
"""

import functools


@functools.lru_cache(maxsize=256)
def accepts_gzip(accept_encoding: bytes | None) -> bool:
    """Whether the client accepts a gzip-compressed response."""
    qualities = _qualities(accept_encoding or b"")
    return qualities.get(b"gzip", qualities.get(b"*", 0.0)) > 0


@functools.lru_cache(maxsize=256)
def prefers_csv(accept: bytes | None) -> bool:
    """Whether the client prefers CSV to JSON."""
    qualities = _qualities(accept or b"")
    json = max(qualities.get(name, 0.0) for name in (b"application/json", b"application/*"))
    return qualities.get(b"text/csv", 0.0) > json


def matches(if_none_match: bytes, etag: str) -> bool:
    """Whether an If-None-Match header names an entity tag."""
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag.encode() in tags or tags == [b"*"]


def _qualities(header: bytes) -> dict[bytes, float]:
    """Name to quality (`q`) in a header such as `gzip, br;q=0.5`."""
    qualities: dict[bytes, float] = {}
    for part in header.lower().split(b","):
        name, *parameters = [each.strip() for each in part.split(b";")]
        quality = next((each[2:] for each in parameters if each.startswith(b"q=")), b"1")
        try:
            qualities[name] = float(quality)
        except ValueError:
            qualities[name] = 0.0
    return qualities
