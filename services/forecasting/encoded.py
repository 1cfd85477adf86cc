"""The rows of a forecast in JSON, encoded once for each model version."""

import itertools
from array import array
from collections.abc import Iterable

import msgspec

from services.forecasting.forecast import Forecast


class EncodedForecast:
    """The rows of every series in JSON, for at most `max_range` days; an answer is slices of them."""

    def __init__(self, forecast: Forecast, max_range: int) -> None:
        self.forecast = forecast
        self.max_range = min(max_range, forecast.horizon)
        # Of each series: the rows of all days joined by commas, and where each day's row ends.
        self._rows: list[bytes] = []
        self._ends: list[array[int]] = []
        encode = msgspec.json.encode
        for index in forecast.select().tolist():
            rows = [encode(row) for row in forecast.rows(self.max_range, [index])]
            self._rows.append(b",".join(rows))
            ends = itertools.accumulate(len(row) + 1 for row in rows)
            self._ends.append(array("I", (end - 1 for end in ends)))

    def rows(self, days: int, series: Iterable[int]) -> bytes:
        """The rows of the first `days` days of these series, joined by commas: a JSON array's inside."""
        last = days - 1
        return b",".join([self._rows[index][: self._ends[index][last]] for index in series])
