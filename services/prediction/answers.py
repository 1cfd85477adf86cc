"""Answers of one model version, encoded once."""

import collections
import csv
import datetime
import gzip
import hashlib
import io
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.contracts.messages import HistoryRequest, ModelReference, PredictionRequest
from services.forecasting.artifact import Model
from services.forecasting.encoded import EncodedForecast
from services.forecasting.forecast import DECIMALS, UnknownSeriesError
from services.http.server import Response
from services.prediction import requests

CACHE_BYTES: Final = 16 * 1024 * 1024
_ENTRY_BYTES: Final = 1024  # of dictionary, objects and headers around the text and body of an entry
_MIN_GZIP_BYTES: Final = 1024
"""Shorter bodies fit a network packet or two as they are."""
_GZIP_LEVEL: Final = 6
_VARY: Final = ("vary", "accept, accept-encoding")


class Question(msgspec.Struct, frozen=True, gc=False):
    """All of a request that its answer depends on.

    Attributes:
        subject: What is asked for: the name of the answer's content in JSON.
        posted: Whether it came in a body.
        text: The query or the body.
        prefers_csv: Whether to answer CSV unless the text says otherwise.
        takes_gzip: Whether the answer may be compressed.
    """

    subject: str
    posted: bool
    text: bytes
    prefers_csv: bool
    takes_gzip: bool


class Answer:
    """The response to a question, and the one to who has it already.

    Attributes:
        etag: Strong entity tag; that of a compressed body is another.
        response: The body and its headers.
        unchanged: 304.
    """

    __slots__ = ("etag", "response", "unchanged")

    def __init__(self, body: bytes, headers: list[tuple[str, str]]) -> None:
        self.etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        headers = [*headers, ("etag", self.etag)]
        self.response = Response(200, headers, body)
        self.unchanged = Response(304, headers)


class Answers:
    """Answers from one model version.

    An answer is kept under its question, so that a repeated request is a lookup.

    Args:
        model: The version.
        max_range: Most days the service forecasts; the version's horizon may be shorter.
        cache_control: The header of answers to GET.
    """

    def __init__(self, model: Model, max_range: int, cache_control: str) -> None:
        self._model = model
        self._encoded = EncodedForecast(model.forecast, max_range)
        version = ModelReference(model.manifest.version)
        self._frame = msgspec.json.encode({"success": True, "model": version})[: -len(b"}")]
        self._cache_control = cache_control
        self._kept: collections.OrderedDict[Question, Answer] = collections.OrderedDict()
        self._kept_bytes = 0

    @property
    def max_range(self) -> int:
        """Most days that can be asked for."""
        return self._encoded.max_range

    @property
    def kept_bytes(self) -> int:
        """Memory that the answers kept take, in bytes, at most CACHE_BYTES."""
        return self._kept_bytes

    def find(self, question: Question) -> Answer | None:
        """The answer kept for a question."""
        answer = self._kept.get(question)
        if answer is not None:
            self._kept.move_to_end(question)
        return answer

    def predict(self, question: Question, request: PredictionRequest) -> Answer:
        """Answer with a forecast, and keep the answer.

        Args:
            question: Under which to keep it.
            request: What it asks, its range at most `max_range`.

        Raises:
            InvalidRequestError: no series matches the filters.
        """
        series = self._select(request)
        if request.layout == "rows" and not _wants_csv(question, request):
            rows = self._encoded.rows(request.range, series.tolist())
            return self._keep(question, request, self._wrap(question, b"[%b]" % rows))
        forecast, days = self._model.forecast, slice(request.range)
        columns = self._columns(
            forecast.dates[days],
            series,
            sales=forecast.sales[series, days],
            lower=forecast.lower[series, days],
            upper=forecast.upper[series, days],
        )
        return self._keep(question, request, self._encode(question, request, columns))

    def history(self, question: Question, request: HistoryRequest) -> Answer:
        """Answer with past sales, and keep the answer.

        Args:
            question: Under which to keep it.
            request: What it asks.

        Raises:
            InvalidRequestError: no series matches the filters.
        """
        series = self._select(request)
        history, days = self._model.history, slice(-request.range, None)
        sales = history.sales[series, days].astype(np.float64).round(DECIMALS)
        columns = self._columns(history.dates[days], series, sales=sales)
        return self._keep(question, request, self._encode(question, request, columns))

    def _select(self, request: PredictionRequest | HistoryRequest) -> NDArray[np.intp]:
        try:
            return self._model.forecast.select(
                store_nbr=_several(request.store_nbr), family=_several(request.family)
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

    def _encode(
        self,
        question: Question,
        request: PredictionRequest | HistoryRequest,
        columns: dict[str, list[Any]],
    ) -> bytes:
        rows = zip(*columns.values(), strict=True)
        if _wants_csv(question, request):
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            writer.writerow(columns)
            writer.writerows(rows)
            return text.getvalue().encode()
        if request.layout == "columns":
            return self._wrap(question, msgspec.json.encode(columns))
        return self._wrap(
            question, msgspec.json.encode([dict(zip(columns, row, strict=True)) for row in rows])
        )

    def _wrap(self, question: Question, content: bytes) -> bytes:
        """The JSON object of an answer."""
        return b'%b,"%b":%b}' % (self._frame, question.subject.encode(), content)

    def _keep(self, question: Question, request: PredictionRequest | HistoryRequest, body: bytes) -> Answer:
        if _wants_csv(question, request):
            headers = [
                ("content-type", "text/csv; charset=utf-8"),
                ("content-disposition", f'attachment; filename="{question.subject}.csv"'),
            ]
        else:
            headers = [("content-type", "application/json")]
        if question.takes_gzip and len(body) >= _MIN_GZIP_BYTES:
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
            headers.append(("content-encoding", "gzip"))
        headers += [
            ("cache-control", "no-store" if question.posted else self._cache_control),
            _VARY,
            ("model-version", self._model.manifest.version),
        ]
        answer = Answer(body, headers)
        self._kept[question] = answer
        self._kept_bytes += _size(question, answer)
        while self._kept_bytes > CACHE_BYTES:
            self._kept_bytes -= _size(*self._kept.popitem(last=False))
        return answer


def _wants_csv(question: Question, request: PredictionRequest | HistoryRequest) -> bool:
    if request.format is None:
        return question.prefers_csv and request.layout == "rows"
    return request.format == "csv"


def _size(question: Question, answer: Answer) -> int:
    return _ENTRY_BYTES + len(question.text) + len(answer.response.body)


def _several(filter_: str | list[str] | None) -> Sequence[str]:
    return [filter_] if isinstance(filter_, str) else filter_ or ()
