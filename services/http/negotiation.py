"""Content negotiation and conditional requests (RFC 9110, 12.5 and 13.1.2)."""

import functools
import hashlib
import re
from typing import Final

from services.http.messages import Headers, Parts, Request, Response

_QUALITY: Final = re.compile(rb"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_MAX_BYTES: Final = 512
"""Of a header that is negotiated by; clients send less. Results are cached, as clients repeat their headers:
what is longer would fill the caches."""


class ConditionalResponse:
    """A response with status 200, and status 304 for a client that already has it."""

    __slots__ = ("_etag", "_not_modified", "response")

    def __init__(self, etag: str, headers: Headers, body: bytes = b"", parts: Parts | None = None) -> None:
        self._etag = etag.removeprefix("W/").encode()
        headers = [*headers, ("etag", etag)]
        self.response = Response(200, headers, body, parts)
        self._not_modified = Response(304, headers)

    def answer(self, request: Request) -> Response:
        """The one that `If-None-Match` asks for."""
        condition = request.headers.get(b"if-none-match")
        if condition is None:
            return self.response
        tags = [tag.strip().removeprefix(b"W/") for tag in condition.split(b",")]
        return self._not_modified if self._etag in tags or tags == [b"*"] else self.response


def etag(content: bytes) -> str:
    """An entity tag: equal content has an equal one."""
    return f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def accepts_gzip(request: Request) -> bool:
    """Whether the client accepts a gzip-compressed response."""
    return _accepts_gzip(request.headers.get(b"accept-encoding", b"")[:_MAX_BYTES])


@functools.lru_cache(maxsize=256)
def _accepts_gzip(accept_encoding: bytes) -> bool:
    qualities = _qualities(accept_encoding)
    return qualities.get(b"gzip", qualities.get(b"*", 0.0)) > 0


def prefers_csv(request: Request) -> bool:
    """Whether the client prefers CSV to JSON: by quality, then by naming it more precisely."""
    return _prefers_csv(request.headers.get(b"accept", b"")[:_MAX_BYTES])


@functools.lru_cache(maxsize=256)
def _prefers_csv(accept: bytes) -> bool:
    qualities = _qualities(accept)

    def preference(media_type: bytes) -> tuple[float, int]:
        ranges = (media_type, media_type.partition(b"/")[0] + b"/*", b"*/*")
        return next(
            ((qualities[name], -vagueness) for vagueness, name in enumerate(ranges) if name in qualities),
            (0.0, -len(ranges)),
        )

    csv = preference(b"text/csv")
    return csv[0] > 0 and csv > preference(b"application/json")


def _qualities(header: bytes) -> dict[bytes, float]:
    """Name to quality (`q`) in a header such as `gzip, br;q=0.5`."""
    qualities: dict[bytes, float] = {}
    for part in header.lower().split(b","):
        name, *parameters = [each.strip() for each in part.split(b";")]
        quality = next((each[2:] for each in parameters if each.startswith(b"q=")), b"1")
        qualities[name] = float(quality) if _QUALITY.fullmatch(quality) else 0.0
    return qualities
