"""Responses from one model version, encoded once and cached; long ones are encoded while they are sent."""

import csv
import functools
import io
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from services.contracts.messages import (
    ForecastReference,
    HistoryRequest,
    HistoryRow,
    ModelReference,
    PredictionRequest,
    PredictionRow,
)
from services.contracts.model import HISTORY_DAYS
from services.forecasting.artifact import Model
from services.http.application import JSON
from services.http.messages import Headers, Parts
from services.http.negotiation import ConditionalResponse, etag
from services.lru_cache import LruCache
from services.prediction import pages, requests
from services.prediction.requests import AnyRequest
from services.prediction.tables import SUM_CELLS, Columns, Series, Tables

_ENTRY_BYTES: Final = 1024
"""Memory of a cached response besides its query and body: dictionary entry, objects and headers."""
_MIN_GZIP_BYTES: Final = 1024
"""Shorter bodies fit into a network packet or two uncompressed."""
_GZIP_LEVEL: Final = 6
_GZIP_FORMAT: Final = 31  # of zlib
_PART_ROWS: Final = 1024
"""Rows that are encoded and compressed at a time: they take less than 10 ms of the event loop."""
_MAX_CACHED_BYTES: Final = 2 * 1024 * 1024
"""Longer bodies are encoded for each request."""
_CSV: Final = ("content-type", "text/csv; charset=utf-8")
_GZIPPED: Final = ("content-encoding", "gzip")

Content = Literal["prediction", "history"]


class Query(msgspec.Struct, frozen=True, gc=False):
    """All parts of a request that its response depends on."""

    content: Content
    posted: bool  # `text` is the body, not a query string
    text: bytes
    prefers_csv: bool  # unless the text names a format
    accepts_gzip: bool


class ModelResponses:
    """Builds and caches the responses of one model version, up to `max_range` days or to its horizon."""

    def __init__(self, model: Model, max_range: int, cache_control: str) -> None:
        self._model = model
        self.max_range = min(max_range, model.forecast.horizon)
        manifest = model.manifest
        made_by = ForecastReference(manifest.version, manifest.planned_until)
        # Of each content: its request, the most days of it, and how its JSON begins.
        self._contents = {
            "prediction": (PredictionRequest, self.max_range, _start("prediction", made_by)),
            "history": (HistoryRequest, HISTORY_DAYS, _start("history", ModelReference(manifest.version))),
        }
        self._cache_control = cache_control
        self._tables = Tables(model)
        self.cache: LruCache[Query, ConditionalResponse] = LruCache()
        families: dict[str, list[str]] = {}
        for store, family in zip(model.forecast.store_nbr, model.forecast.family, strict=True):
            families.setdefault(store, []).append(family)
        shown = ("version", "created_at", "first_date", "last_date", "series", "interval", "backtest")
        content = {name: getattr(manifest, name) for name in (*shown, "planned_until")}
        content |= {"max_range": self.max_range, "families": families}
        self.page = pages.page(msgspec.json.encode(content), ".json")

    def build(self, query: Query) -> ConditionalResponse:
        """Build the response to a query and cache it; HttpError if it is invalid or asks for no series."""
        kind, max_range, _ = self._contents[query.content]
        request = requests.parse(query.text, kind, max_range, posted=query.posted)
        as_csv = request.format == "csv"
        if request.format is None:
            as_csv = query.prefers_csv and request.layout != "columns"
        series = self._tables.select(request)
        headers = [JSON]
        if as_csv:
            headers = [_CSV, ("content-disposition", f'attachment; filename="{query.content}.csv"')]
        headers += [
            ("cache-control", "no-store" if query.posted else self._cache_control),
            ("vary", "accept, accept-encoding"),
            ("model-version", self._model.manifest.version),
        ]
        content = functools.partial(self._content, query, request, series, as_csv)
        if len(series) * request.range > (SUM_CELLS if request.layout == "sum" else _PART_ROWS):
            return self._long(query, headers, content)
        body = b"".join(content())
        if query.accepts_gzip and len(body) >= _MIN_GZIP_BYTES:
            body = b"".join(_compressed([body]))
            headers.append(_GZIPPED)
        return self._cached(query, etag(body), headers, body)

    def _long(self, query: Query, headers: Headers, content: Parts) -> ConditionalResponse:
        """A response that is encoded while it is sent, and cached then unless it is too long."""
        manifest = self._model.manifest
        # The bytes are not known yet, so the tag promises the same numbers only.
        tag = f"W/{etag(msgspec.json.encode([manifest.version, manifest.created_at, query]))}"
        if query.accepts_gzip:
            headers = [*headers, _GZIPPED]

        def parts() -> Iterator[bytes]:
            sent: list[bytes] = []
            size = 0
            for part in _compressed(content()) if query.accepts_gzip else content():
                yield part
                size += len(part)
                sent.append(part)
                if size > _MAX_CACHED_BYTES:
                    sent.clear()
            if size <= _MAX_CACHED_BYTES and self.cache.get(query) is None:
                self._cached(query, tag, headers, b"".join(sent))

        return ConditionalResponse(tag, headers, parts=parts)

    def _cached(self, query: Query, tag: str, headers: Headers, body: bytes) -> ConditionalResponse:
        response = ConditionalResponse(tag, headers, body)
        self.cache.put(query, response, _ENTRY_BYTES + len(query.text) + len(body))
        return response

    def _content(self, query: Query, request: AnyRequest, series: Series, as_csv: bool) -> Iterator[bytes]:
        """The body of a response, in parts."""
        _, _, start = self._contents[query.content]
        if request.layout == "sum":
            sums = yield from self._tables.sums(request, series)
            if as_csv:
                yield _csv([sums, *_rows(sums)])
            else:
                yield b"%b[%b]}" % (start, _json_objects(sums))
            return
        size = max(1, _PART_ROWS // request.range)
        parts = [series[first : first + size] for first in range(0, len(series), size)]
        names = (HistoryRow if isinstance(request, HistoryRequest) else PredictionRow).__struct_fields__

        def columns(part: Series, *some: str) -> Columns:
            return self._tables.columns(request, part, some or names, as_csv=as_csv)

        if as_csv:
            yield _csv([names])
            for part in parts:
                yield _csv(_rows(columns(part)))
            return
        yield start
        if request.layout == "columns":
            separator = b"{"
            for name in names:
                yield b'%b"%b":' % (separator, name.encode())
                yield from _json_list(msgspec.json.encode(columns(part, name)[name])[1:-1] for part in parts)
                separator = b","
            yield b"}}"
            return
        if isinstance(request, HistoryRequest):
            yield from _json_list(_json_objects(columns(part)) for part in parts)
        else:
            rows = (self._model.forecast.rows(request.range, part.tolist()) for part in parts)
            yield from _json_list(msgspec.json.encode(each)[1:-1] for each in rows)
        yield b"}"


def _start(content: str, made_by: ModelReference | ForecastReference) -> bytes:
    head = msgspec.json.encode({"success": True, "model": made_by}).removesuffix(b"}")
    return b'%b,"%b":' % (head, content.encode())


def _compressed(parts: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
    for part in parts:
        yield compressor.compress(part)
    yield compressor.flush()


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _rows(columns: Columns) -> Iterator[tuple[Any, ...]]:
    return zip(*columns.values(), strict=True)


def _json_objects(columns: Columns) -> bytes:
    """Rows as JSON objects joined by commas."""
    return msgspec.json.encode([dict(zip(columns, row, strict=True)) for row in _rows(columns)])[1:-1]


def _json_list(parts: Iterable[bytes]) -> Iterator[bytes]:
    """A list in JSON, of parts that are its elements joined by commas."""
    separator = b"["
    for part in parts:
        if part:
            yield separator + part
            separator = b","
    yield b"[]" if separator == b"[" else b"]"
