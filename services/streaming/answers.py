"""Answers of one model version to requests from Pub/Sub."""

import collections
from typing import Final

import msgspec

from services.contracts.decoding import InvalidMessageError
from services.contracts.messages import ModelReference, SalePrediction, SaleRangeRequest
from services.forecasting.artifact import Model
from services.forecasting.encoded import EncodedForecast
from services.forecasting.forecast import UnknownSeriesError
from services.streaming.rows import ForecastRows, request_fields

CACHE_BYTES: Final = 16 * 1024 * 1024
_ENTRY_BYTES: Final = 256  # of dictionary and objects around a reply

_Question = tuple[int, str | None, str | None]


class Answers:
    """Makes what is sent or saved for a request.

    What requests of the same range and filters have in common is made once.

    Args:
        model: The version.
        max_range: Most days the service forecasts; the version's horizon may be shorter.

    Attributes:
        version: The version that answers.
    """

    def __init__(self, model: Model, max_range: int) -> None:
        self.version = model.manifest.version
        self._encoded = EncodedForecast(model.forecast, max_range)
        self._rows = ForecastRows(model.forecast)
        # As many as there are markets and products and their pairs.
        self._series: dict[tuple[str | None, str | None], list[int]] = {}
        self._replies: collections.OrderedDict[_Question, bytes] = collections.OrderedDict()
        self._replies_bytes = 0
        frame = msgspec.json.encode(
            SalePrediction(request_id="", success=True, model=ModelReference(self.version), prediction=[])
        )
        refusal = msgspec.json.encode(
            SalePrediction(request_id="", success=False, model=ModelReference(self.version), prediction=[])
        )
        self._head = b'{"request_id":'
        start, end = len(self._head + b'""'), len(b"]}")
        self._middle, self._tail, self._refusal = frame[start:-end], frame[-end:], refusal[start:]

    @property
    def max_range(self) -> int:
        """Most days that can be asked for."""
        return self._encoded.max_range

    def series(self, request: SaleRangeRequest) -> list[int]:
        """The series a request asks for.

        Raises:
            InvalidMessageError: there are none; says which exist.
        """
        filters = request.store_nbr, request.family
        series = self._series.get(filters)
        if series is None:
            store_nbr, family = filters
            try:
                series = self._encoded.forecast.select(
                    store_nbr=[store_nbr] if store_nbr is not None else (),
                    family=[family] if family is not None else (),
                ).tolist()
            except UnknownSeriesError as error:
                raise InvalidMessageError(str(error), request) from None
            self._series[filters] = series
        return series

    def reply(self, request: SaleRangeRequest) -> bytes:
        """The `SalePrediction` in JSON that answers an active request.

        Raises:
            InvalidMessageError: there are no such series.
        """
        question = request.range, request.store_nbr, request.family
        rest = self._replies.get(question)
        if rest is None:
            rest = self._middle + self._encoded.rows(request.range, self.series(request)) + self._tail
            self._keep(question, rest)
        else:
            self._replies.move_to_end(question)
        return self._head + msgspec.json.encode(request.request_id) + rest

    def refusal(self, request: SaleRangeRequest) -> bytes:
        """The `SalePrediction` in JSON that says that there is none."""
        return self._head + msgspec.json.encode(request.request_id) + self._refusal

    def rows(self, request: SaleRangeRequest, published_us: int, processed_us: int) -> list[bytes]:
        """The rows of table `predictions`, serialized, that answer a passive request.

        Args:
            request: What is asked.
            published_us: When it was published, microseconds since the epoch.
            processed_us: When it is answered, likewise.

        Raises:
            InvalidMessageError: there are no such series.
        """
        fields = request_fields(request.request_id, published_us, processed_us)
        return [row + fields for row in self._rows.of(request.range, self.series(request))]

    def _keep(self, question: _Question, rest: bytes) -> None:
        self._replies[question] = rest
        self._replies_bytes += len(rest) + _ENTRY_BYTES
        while self._replies_bytes > CACHE_BYTES:
            self._replies_bytes -= len(self._replies.popitem(last=False)[1]) + _ENTRY_BYTES
