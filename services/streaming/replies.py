"""Replies and rows from one model version."""

from typing import Final

import msgspec

from services.contracts.decoding import InvalidMessageError
from services.contracts.messages import ModelReference, SalePrediction, SaleRangeRequest
from services.forecasting.artifact import Model
from services.forecasting.encoded import EncodedForecast
from services.forecasting.forecast import UnknownSeriesError
from services.lru_cache import LruCache
from services.streaming.rows import ForecastRows, request_fields

_ENTRY_BYTES: Final = 256
"""Memory of a cached reply besides its text: dictionary entry and objects."""

_Query = tuple[int, str | None, str | None]


class ModelReplies:
    """Builds the replies and rows that answer requests.

    What requests with the same range and filters share is built once.

    Args:
        model: The version.
        max_range: Limit of the number of days; the version's horizon may be shorter.

    Attributes:
        version: Name of the version.
    """

    def __init__(self, model: Model, max_range: int) -> None:
        self.version = model.manifest.version
        self._encoded = EncodedForecast(model.forecast, max_range)
        self._rows = ForecastRows(model.forecast)
        # One entry per store, family and pair of them.
        self._series: dict[tuple[str | None, str | None], list[int]] = {}
        # A reply is start, JSON of its request_id, and the rest, which is cached.
        self._rest: LruCache[_Query, bytes] = LruCache()
        self._start = b'{"request_id":'
        after_id = len(self._start) + len(b'""')

        def rest(*, success: bool) -> bytes:
            reference = ModelReference(self.version)
            reply = SalePrediction(request_id="", success=success, model=reference, prediction=[])
            return msgspec.json.encode(reply)[after_id:]

        self._refused_rest = rest(success=False)
        self._rest_start = rest(success=True).removesuffix(b"]}")

    @property
    def max_range(self) -> int:
        """Most days that a request may ask for."""
        return self._encoded.max_range

    def series(self, request: SaleRangeRequest) -> list[int]:
        """The requested series.

        Raises:
            InvalidMessageError: there are none; the text names known values.
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
            InvalidMessageError: no series matches the filters.
        """
        query = request.range, request.store_nbr, request.family
        rest = self._rest.get(query)
        if rest is None:
            rest = self._rest_start + self._encoded.rows(request.range, self.series(request)) + b"]}"
            self._rest.put(query, rest, _ENTRY_BYTES + len(rest))
        return self._start + msgspec.json.encode(request.request_id) + rest

    def refusal(self, request: SaleRangeRequest) -> bytes:
        """The `SalePrediction` in JSON that refuses an active request."""
        return self._start + msgspec.json.encode(request.request_id) + self._refused_rest

    def rows(self, request: SaleRangeRequest, published_us: int, processed_us: int) -> list[bytes]:
        """The serialized rows of table `predictions` that answer a passive request.

        Args:
            request: The request.
            published_us: When it was published, microseconds since the epoch.
            processed_us: When it is answered, likewise.

        Raises:
            InvalidMessageError: no series matches the filters.
        """
        fields = request_fields(request.request_id, published_us, processed_us)
        return [row + fields for row in self._rows.of(request.range, self.series(request))]
