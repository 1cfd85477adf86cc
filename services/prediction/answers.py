"""Answers of one model version, encoded once."""

import collections
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from services.contracts.messages import ModelReference, PredictionRequest, PredictionResponse
from services.forecasting.artifact import Model
from services.forecasting.encoded import EncodedForecast
from services.forecasting.forecast import UnknownSeriesError
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

    An answer is kept under the text of its request, so that a repeated request is a lookup.

    Args:
        model: The version.
        max_range: Most days the service forecasts; the version's horizon may be shorter.
    """

    def __init__(self, model: Model, max_range: int) -> None:
        self._encoded = EncodedForecast(model.forecast, max_range)
        self._kept: collections.OrderedDict[str | bytes, Answer] = collections.OrderedDict()
        self._kept_bytes = 0
        empty = PredictionResponse(success=True, model=ModelReference(model.manifest.version), prediction=[])
        frame = msgspec.json.encode(empty)
        self._head, self._tail = frame[: -len(b"]}")], frame[-len(b"]}") :]

    @property
    def max_range(self) -> int:
        """Most days that can be asked for."""
        return self._encoded.max_range

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
            series = self._encoded.forecast.select(
                store_nbr=_several(request.store_nbr), family=_several(request.family)
            )
        except UnknownSeriesError as error:
            raise requests.no_series(error) from None
        body = self._head + self._encoded.rows(request.range, series.tolist()) + self._tail
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
