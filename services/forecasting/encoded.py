"""The rows of a forecast in JSON, encoded when they are first asked for."""

import functools
import itertools
from collections.abc import Iterable
from typing import Final

import msgspec

from services.forecasting.forecast import Forecast

_CACHED: Final = 10_000
"""Series, at most 70 MiB: the rows of 30,000 would take more memory than the rest of a service."""


class EncodedForecast:
    """The rows of every series in JSON; an answer is slices of them.

    Attributes:
        forecast: The forecast.
        max_range: Most days that can be asked for.
    """

    def __init__(self, forecast: Forecast, max_range: int) -> None:
        self.forecast = forecast
        self.max_range = min(max_range, forecast.horizon)
        # Not a method's: a cache that holds the object that has it would keep an old version in memory.
        self._encoded = functools.lru_cache(_CACHED)(functools.partial(_encoded, forecast, self.max_range))

    def rows(self, days: int, series: Iterable[int]) -> bytes:
        """The rows of the first `days` days of these series, joined by commas: a JSON array's inside."""
        last = days - 1
        return b",".join([rows[: ends[last]] for rows, ends in map(self._encoded, series)])


def _encoded(forecast: Forecast, days: int, index: int) -> tuple[bytes, tuple[int, ...]]:
    """The rows of a series joined by commas, and where each day's row ends."""
    rows = [msgspec.json.encode(row) for row in forecast.rows(days, [index])]
    ends = itertools.accumulate(len(row) + 1 for row in rows)
    return b",".join(rows), tuple(end - 1 for end in ends)
