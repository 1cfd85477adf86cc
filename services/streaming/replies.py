"""Replies and rows from one model version."""

from services.answers import Replies
from services.contracts.messages import SaleRangeRequest
from services.forecasting.artifact import Model
from services.streaming.rows import ForecastRows, request_fields


class ModelReplies(Replies):
    """Builds the replies and rows that answer requests.

    Args:
        model: The version.
        max_range: Limit of the number of days; the version's horizon may be shorter.
    """

    def __init__(self, model: Model, max_range: int) -> None:
        super().__init__(model.forecast, max_range)
        self._rows = ForecastRows(model.forecast)

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
