"""Responses from one model version, encoded once and cached."""

import csv
import datetime
import gzip
import hashlib
import io
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.contracts.messages import HistoryRequest, ModelReference, PredictionRequest
from services.contracts.model import HISTORY_DAYS
from services.forecasting.artifact import Model
from services.forecasting.encoded import EncodedForecast
from services.forecasting.forecast import DECIMALS, UnknownSeriesError
from services.http.messages import Response
from services.lru_cache import LruCache
from services.prediction import requests

_ENTRY_BYTES: Final = 1024
"""Memory of a cached response besides its query and body: dictionary entry, objects and headers."""
_MIN_GZIP_BYTES: Final = 1024
"""Shorter bodies fit into a network packet or two uncompressed."""
_GZIP_LEVEL: Final = 6


class Query(msgspec.Struct, frozen=True, gc=False):
    """All parts of a request that its response depends on.

    Attributes:
        content: What is requested, and its name in JSON.
        posted: Whether `text` is the body.
        text: The query string or the body.
        prefers_csv: Whether to respond in CSV unless the text names a format.
        accepts_gzip: Whether the response may be compressed.
    """

    content: Literal["prediction", "history"]
    posted: bool
    text: bytes
    prefers_csv: bool
    accepts_gzip: bool


class CachedResponse:
    """The response to a query, and the one for a client that already has it.

    Attributes:
        etag: Strong entity tag: a compressed body has another one.
        response: Status 200, with the body.
        not_modified: Status 304.
    """

    __slots__ = ("etag", "not_modified", "response")

    def __init__(self, body: bytes, headers: list[tuple[str, str]]) -> None:
        self.etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        headers = [*headers, ("etag", self.etag)]
        self.response = Response(200, headers, body)
        self.not_modified = Response(304, headers)


class ModelResponses:
    """Builds and caches the responses of one model version.

    Args:
        model: The version.
        max_range: Limit of the number of days; the version's horizon may be shorter.
        cache_control: The header of responses to GET.

    Attributes:
        cache: Responses by query.
    """

    def __init__(self, model: Model, max_range: int, cache_control: str) -> None:
        self._model = model
        self._encoded = EncodedForecast(model.forecast, max_range)
        version = ModelReference(model.manifest.version)
        self._json_start = msgspec.json.encode({"success": True, "model": version})[: -len(b"}")]
        self._cache_control = cache_control
        self.cache: LruCache[Query, CachedResponse] = LruCache()

    @property
    def max_range(self) -> int:
        """Most days that a request may ask for."""
        return self._encoded.max_range

    def build(self, query: Query) -> CachedResponse:
        """Build the response to a query and cache it.

        Raises:
            HttpError: the query is invalid, or no series matches its filters.
        """
        request = self._parse(query)
        if request.format is None:
            as_csv = query.prefers_csv and request.layout == "rows"
        else:
            as_csv = request.format == "csv"
        body = self._body(query, request, as_csv)
        if as_csv:
            headers = [
                ("content-type", "text/csv; charset=utf-8"),
                ("content-disposition", f'attachment; filename="{query.content}.csv"'),
            ]
        else:
            headers = [("content-type", "application/json")]
        if query.accepts_gzip and len(body) >= _MIN_GZIP_BYTES:
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
            headers.append(("content-encoding", "gzip"))
        headers += [
            ("cache-control", "no-store" if query.posted else self._cache_control),
            ("vary", "accept, accept-encoding"),
            ("model-version", self._model.manifest.version),
        ]
        response = CachedResponse(body, headers)
        self.cache.put(query, response, _ENTRY_BYTES + len(query.text) + len(body))
        return response

    def _parse(self, query: Query) -> PredictionRequest | HistoryRequest:
        if query.content == "history":
            return requests.from_query(query.text, HistoryRequest, HISTORY_DAYS)
        if query.posted:
            return requests.from_body(query.text, self.max_range)
        return requests.from_query(query.text, PredictionRequest, self.max_range)

    def _body(self, query: Query, request: PredictionRequest | HistoryRequest, as_csv: bool) -> bytes:
        series = self._select(request)
        if isinstance(request, HistoryRequest):
            history, days = self._model.history, slice(-request.range, None)
            sales = history.sales[series, days].astype(np.float64).round(DECIMALS)
            columns = self._columns(history.dates[days], series, sales=sales)
        elif request.layout == "rows" and not as_csv:
            return self._json(query, b"[%b]" % self._encoded.rows(request.range, series.tolist()))
        else:
            forecast, days = self._model.forecast, slice(request.range)
            columns = self._columns(
                forecast.dates[days],
                series,
                sales=forecast.sales[series, days],
                lower=forecast.lower[series, days],
                upper=forecast.upper[series, days],
            )
        if request.layout == "columns":
            return self._json(query, msgspec.json.encode(columns))
        rows = zip(*columns.values(), strict=True)
        if as_csv:
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            writer.writerow(columns)
            writer.writerows(rows)
            return text.getvalue().encode()
        return self._json(query, msgspec.json.encode([dict(zip(columns, row, strict=True)) for row in rows]))

    def _select(self, request: PredictionRequest | HistoryRequest) -> NDArray[np.intp]:
        try:
            return self._model.forecast.select(
                store_nbr=_as_list(request.store_nbr), family=_as_list(request.family)
            )
        except UnknownSeriesError as error:
            raise requests.no_series(error) from None

    def _columns(
        self, dates: Sequence[datetime.date], series: NDArray[np.intp], **values: NDArray[np.float64]
    ) -> dict[str, list[Any]]:
        """Columns of the days that have values, ordered by series, then date."""
        known = np.nonzero(~np.isnan(values["sales"]))
        rows, days = known
        forecast = self._model.forecast
        return {
            "date": np.array([date.isoformat() for date in dates])[days].tolist(),
            "store_nbr": np.array(forecast.store_nbr)[series[rows]].tolist(),
            "family": np.array(forecast.family)[series[rows]].tolist(),
            **{name: value[known].tolist() for name, value in values.items()},
        }

    def _json(self, query: Query, content: bytes) -> bytes:
        return b'%b,"%b":%b}' % (self._json_start, query.content.encode(), content)


def _as_list(filter_: str | list[str] | None) -> Sequence[str]:
    return [filter_] if isinstance(filter_, str) else filter_ or ()
