"""The numbers of one model version as columns: of series, or of their sum."""

import datetime
from collections.abc import Generator, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.contracts.messages import HistoryRequest, PredictionRequest
from services.forecasting.artifact import Model
from services.forecasting.forecast import DECIMALS, UnknownSeriesError
from services.http.messages import HttpError
from services.prediction.requests import AnyRequest

Series = NDArray[np.intp]
Columns = dict[str, list[Any]]

SUM_CELLS: Final = 50_000
"""Numbers that are added up at a time: they take less than 5 ms of the event loop."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the begin of a formula: https://owasp.org/www-community/attacks/CSV_Injection."""


class Tables:
    """Past sales and forecasts of a model version."""

    def __init__(self, model: Model) -> None:
        self._model = model
        forecast = model.forecast
        self._all: Series = np.arange(len(forecast.sales))
        self._keys = {"store_nbr": np.array(forecast.store_nbr), "family": np.array(forecast.family)}
        self._csv_keys = {
            name: np.array([f"'{key}" if key.startswith(_FORMULA) else key for key in keys.tolist()])
            for name, keys in self._keys.items()
        }

    def select(self, request: AnyRequest) -> Series:
        """The series that a request asks for; HttpError if there are none."""
        if not request.store_nbr and not request.family:
            return self._all
        filters = {"store_nbr": request.store_nbr, "family": request.family}
        try:
            return self._model.forecast.select(
                **{name: [each] if isinstance(each, str) else each or () for name, each in filters.items()}
            )
        except UnknownSeriesError as error:
            detail = f"no requested series has {error.field} {error.value!r}"
            raise HttpError(HTTPStatus.BAD_REQUEST, detail, error.field, [*error.allowed]) from None

    def columns(self, request: AnyRequest, series: Series, names: Iterable[str], as_csv: bool) -> Columns:
        """Columns of these series, by name, with a row for each day that is known, by series, then date."""
        dates, numbers = self._numbers(request)
        keys = self._csv_keys if as_csv else self._keys
        rows, days = np.nonzero(~np.isnan(numbers["sales"][series]))

        def column(name: str) -> list[Any]:
            if name == "date":
                return np.array(dates)[days].tolist()
            if name in keys:
                return keys[name][series[rows]].tolist()
            return numbers[name][series][rows, days].round(DECIMALS).tolist()

        return {name: column(name) for name in names}

    def sums(self, request: AnyRequest, series: Series) -> Generator[bytes, None, Columns]:
        """Columns of the sum of these series, a row for each day on which one of them is known.

        Yields an empty part of a response after each SUM_CELLS numbers, then returns the columns.
        """
        dates, numbers = self._numbers(request)
        # Whole numbers of the last decimal: their sum is exact up to 2**53, that of fractions is not.
        total, known = np.zeros(len(dates)), np.zeros(len(dates), dtype=np.bool_)
        size = max(1, SUM_CELLS // len(dates))
        for start in range(0, len(series), size):
            sales = numbers["sales"][series[start : start + size]]
            known |= ~np.isnan(sales).all(axis=0)
            total += np.nansum(np.rint(sales * 10**DECIMALS), axis=0)
            yield b""
        sums = {"date": np.array(dates)[known].tolist(), "sales": (total[known] / 10**DECIMALS).tolist()}
        if isinstance(request, PredictionRequest):
            ends = self._model.forecast.interval_of_sum(series) or (None, None)
            days = len(dates)
            for name, end in zip(("lower", "upper"), ends, strict=True):
                sums[name] = [None] * days if end is None else end[:days].round(DECIMALS).tolist()
        return sums

    def _numbers(self, request: AnyRequest) -> tuple[Sequence[datetime.date], dict[str, NDArray[np.float64]]]:
        """The days asked for, and the numbers of all series on them."""
        if isinstance(request, HistoryRequest):
            history, days = self._model.history, slice(-request.range, None)
            return history.dates[days], {"sales": history.sales[:, days]}
        forecast, days = self._model.forecast, slice(request.range)
        numbers = {"sales": forecast.sales, "lower": forecast.lower, "upper": forecast.upper}
        return forecast.dates[days], {name: values[:, days] for name, values in numbers.items()}
