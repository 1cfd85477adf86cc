"""Answers of one model version to requests from Pub/Sub."""

import datetime
from typing import Any

import msgspec

from services.contracts.messages import ModelReference, SalePrediction, SaleRangeRequest
from services.contracts.tables import Prediction
from services.forecasting.artifact import Model
from services.forecasting.encoded import EncodedForecast
from services.forecasting.forecast import UnknownSeriesError
from services.streaming.decoding import InvalidMessageError


class Answers:
    """Makes what is sent or saved for a request.

    Args:
        model: The version.
        max_range: Most days the service forecasts; the version's horizon may be shorter.

    Attributes:
        version: The version that answers.
    """

    def __init__(self, model: Model, max_range: int) -> None:
        self.version = model.manifest.version
        self._encoded = EncodedForecast(model.forecast, max_range)

    @property
    def max_range(self) -> int:
        """Most days that can be asked for."""
        return self._encoded.max_range

    def series(self, request: SaleRangeRequest) -> list[int]:
        """The series a request asks for.

        Raises:
            InvalidMessageError: there are none; says which exist.
        """
        try:
            return self._encoded.forecast.select(
                store_nbr=[request.store_nbr] if request.store_nbr is not None else (),
                family=[request.family] if request.family is not None else (),
            ).tolist()
        except UnknownSeriesError as error:
            raise InvalidMessageError(str(error)) from None

    def reply(self, request: SaleRangeRequest, series: list[int]) -> bytes:
        """The `SalePrediction` in JSON that answers an active request."""
        frame = msgspec.json.encode(
            SalePrediction(
                request_id=request.request_id,
                success=True,
                model=ModelReference(self.version),
                prediction=[],
            )
        )
        end = len(b"]}")
        return frame[:-end] + self._encoded.rows(request.range, series) + frame[-end:]

    def rows(
        self, request: SaleRangeRequest, series: list[int], published_at: datetime.datetime
    ) -> list[dict[str, Any]]:
        """The rows of table `predictions`, in JSON's types, that answer a passive request."""
        processed_at = datetime.datetime.now(datetime.UTC)
        return msgspec.to_builtins(
            [
                Prediction(
                    request_id=request.request_id,
                    model_version=self.version,
                    date=row.date,
                    store_nbr=row.store_nbr,
                    family=row.family,
                    sales=row.sales,
                    lower=row.lower,
                    upper=row.upper,
                    published_at=published_at,
                    processed_at=processed_at,
                )
                for row in self._encoded.forecast.rows(request.range, series)
            ]
        )
