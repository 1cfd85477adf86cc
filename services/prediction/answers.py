"""Answers of one model version, encoded once."""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from typing import Final

import msgspec

from services.contracts.messages import ModelReference, PredictionRequest, PredictionResponse
from services.contracts.model import Manifest
from services.forecasting.forecast import Forecast, UnknownSeriesError
from services.prediction import requests

CACHE_BYTES: Final = 16 * 1024 * 1024
_ENTRY_BYTES: Final = 512  # of dictionary, objects and headers around the text and body of an entry


@dataclasses.dataclass(frozen=True)
class Answer:
    """The body of a `PredictionResponse` and its strong entity tag."""

    body: bytes
    etag: str


class Answers:
    """Answers `/predict` from one model version.

    Each series' rows are encoded when the version is loaded; an answer joins slices of them and is
    kept under the text of its request, so that a repeated request is a lookup.

    Args:
        manifest: The version.
        forecast: Its forecast.
        max_range: Most days the service forecasts; the version's horizon may be shorter.
    """

    def __init__(self, manifest: Manifest, forecast: Forecast, max_range: int) -> None:
        self.max_range = min(max_range, forecast.horizon)
        self._forecast = forecast
        self._kept: collections.OrderedDict[str | bytes, Answer] = collections.OrderedDict()
        self._kept_bytes = 0
        empty = PredictionResponse(success=True, model=ModelReference(manifest.version), prediction=[])
        encode = msgspec.json.encode
        frame = encode(empty)
        self._head, self._tail = frame[: -len(b"]}")], frame[-len(b"]}") :]
        rows = forecast.rows(self.max_range, forecast.select())
        # Per series: the rows of all days joined by commas, and where each day's row ends.
        self._rows: list[bytes] = []
        self._ends: list[list[int]] = []
        for first in range(0, len(rows), self.max_range):
            encoded = [encode(row) for row in rows[first : first + self.max_range]]
            self._rows.append(b",".join(encoded))
            self._ends.append([end - 1 for end in itertools.accumulate(len(row) + 1 for row in encoded)])

    def find(self, text: str | bytes) -> Answer | None:
        """The answer kept for a request's text: the query of a GET or the body of a POST."""
        answer = self._kept.get(text)
        if answer is not None:
            self._kept.move_to_end(text)
        return answer

    def make(self, text: str | bytes, request: PredictionRequest) -> Answer:
        """Answer a request and keep the answer under the request's text.

        Raises:
            InvalidRequestError: the range is longer than `max_range`, or no series matches the filters.
        """
        if request.range > self.max_range:
            raise requests.range_out_of_limits(self.max_range)
        try:
            series = self._forecast.select(
                store_nbr=_several(request.store_nbr), family=_several(request.family)
            )
        except UnknownSeriesError as error:
            raise requests.no_series(error) from None
        last = request.range - 1
        rows = b",".join([self._rows[index][: self._ends[index][last]] for index in series])
        body = b"".join((self._head, rows, self._tail))
        answer = Answer(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')
        self._keep(text, answer)
        return answer

    def _keep(self, text: str | bytes, answer: Answer) -> None:
        self._kept[text] = answer
        self._kept_bytes += _size(text, answer)
        while self._kept_bytes > CACHE_BYTES:
            self._kept_bytes -= _size(*self._kept.popitem(last=False))


def _size(text: str | bytes, answer: Answer) -> int:
    return _ENTRY_BYTES + len(text) + len(answer.body)


def _several(filter_: str | list[str] | None) -> Sequence[str]:
    return [filter_] if isinstance(filter_, str) else filter_ or ()
