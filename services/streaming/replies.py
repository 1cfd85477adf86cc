"""Replies and rows from one model version."""

import functools

import msgspec

from services.answers import Replies, encoded_rows
from services.contracts.messages import PredictionRow, SaleRangeRequest
from services.contracts.schema import defaults
from services.contracts.tables import Prediction
from services.forecasting.forecast import Forecast
from services.streaming.rows import PREDICTION


class ModelReplies(Replies):
    """Builds the replies and rows that answer requests.

    A serialized message is the concatenation of its fields in any order
    (https://protobuf.dev/programming-guides/encoding/#order). So the fields that a forecast decides are
    serialized once per model version, when a series is first asked for, and those that a request decides once
    per message. A row is the two joined.
    """

    def __init__(self, forecast: Forecast, max_range: int) -> None:
        super().__init__(forecast, max_range)
        given = {**defaults(Prediction), "model_version": forecast.version}

        def encode(row: PredictionRow) -> bytes:
            return PREDICTION.encode(**given, **msgspec.structs.asdict(row))

        self._saved = functools.cache(encoded_rows(forecast, 0, self.max_range, encode))

    def rows(self, request: SaleRangeRequest, published_us: int, processed_us: int) -> list[bytes]:
        """The serialized rows of table `predictions` that answer a passive request.

        Its times are microseconds since the epoch.

        Raises:
            InvalidMessageError: no series matches the filters.
        """
        fields = PREDICTION.encode(
            request_id=request.request_id, published_at=published_us, processed_at=processed_us
        )
        series = self.series(request.store_nbr, request.family)
        return [row + fields for index in series for row in self._saved(index)[: request.range]]
