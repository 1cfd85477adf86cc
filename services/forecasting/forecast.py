"""A finished forecast, as services serve it, and the sales before it: tables of series by days."""

import bisect
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.contracts.messages import Key, PredictionRow

DECIMALS = 3  # of units per day; rounded in training, so that all services answer with the same digits

Table = NDArray[np.float64]
Ends = tuple[Table, Table]  # lower and upper end of intervals

# Up to so many known values are all named in an error; of more, the next ones in alphabetical order.
_ALL_VALUES, _NEIGHBOURS = 50, 10
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class UnknownSeriesError(LookupError):
    """A store or family, as `field` says, that the model does not know.

    `known` is in alphabetical order whatever the case; `allowed` are these, of many the next to the unknown.
    """

    def __init__(self, field: str, value: str, known: Sequence[str]):
        self.field = field
        self.value = value
        self.allowed = tuple(known)
        if len(known) > _ALL_VALUES:
            place = bisect.bisect_left(known, value.casefold(), key=str.casefold)
            begin = max(0, min(place - _NEIGHBOURS // 2, len(known) - _NEIGHBOURS))
            self.allowed = self.allowed[begin : begin + _NEIGHBOURS]
        more = len(known) - len(self.allowed)
        text = ", ".join(self.allowed) + (f" and {more} more" if more else "")
        super().__init__(f"unknown {field} {value!r}; known: {text}")


@dataclass(frozen=True, eq=False)
class Forecast:
    """Expected sales of every series for the days after the last training day, consecutive `dates`.

    Series are sorted by (store_nbr, family) and unique; both are a `Key` without control characters.
    ValueError says which part does not satisfy this, or is not as follows.

    Attributes:
        sales: expected units sold per day, shape (series, horizon), rounded to DECIMALS.
        lower: lower end of the prediction interval, same shape; 0 <= lower <= sales <= upper.
        sums: both ends for the sums at a level, "total", "store_nbr" or "family", each of shape (groups
            sorted by name, horizon); empty for versions of before there were any.
    """

    version: str
    dates: tuple[datetime.date, ...]
    store_nbr: tuple[str, ...]
    family: tuple[str, ...]
    sales: Table
    lower: Table
    upper: Table
    sums: Mapping[str, Ends] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_dates(self.dates)
        for column, names in (("store_nbr", self.store_nbr), ("family", self.family)):
            try:
                msgspec.convert(names, tuple[Key, ...])
            except msgspec.ValidationError as error:
                raise ValueError(f"{column} must be what requests can ask for: {error}") from None
            if bad := next(filter(_CONTROL_CHARACTER.search, names), None):
                raise ValueError(f"{column} must have no control characters, as in {bad!r}")
        keys = list(zip(self.store_nbr, self.family, strict=True))
        if not keys or any(left >= right for left, right in pairwise(keys)):
            raise ValueError("series must be unique, sorted by (store_nbr, family), and at least one")
        shape = (len(keys), len(self.dates))
        for name, values in (("sales", self.sales), ("lower", self.lower), ("upper", self.upper)):
            if values.shape != shape or values.dtype != np.float64 or not np.isfinite(values).all():
                raise ValueError(f"{name} must be finite float64 of shape {shape}")
        if not ((self.lower >= 0) & (self.lower <= self.sales) & (self.sales <= self.upper)).all():
            raise ValueError("0 <= lower <= sales <= upper must hold everywhere")
        groups = {"total": 1} | {field: len(names) for field, names in self._names.items()}
        for level, (lower, upper) in self.sums.items():
            shape = (groups[level], len(self.dates))
            if lower.shape != shape or upper.shape != shape or not ((lower >= 0) & (lower <= upper)).all():
                raise ValueError(f"0 <= lower <= upper must hold for {shape} sums at level {level}")

    @property
    def horizon(self) -> int:
        """Number of days."""
        return len(self.dates)

    @cached_property
    def _series_of(self) -> dict[str, dict[str, NDArray[np.intp]]]:
        """Series indices, ascending, by field and value, values sorted."""
        index: dict[str, dict[str, NDArray[np.intp]]] = {}
        for column, names in (("store_nbr", self.store_nbr), ("family", self.family)):
            values: dict[str, list[int]] = {}
            for i, value in enumerate(names):
                values.setdefault(value, []).append(i)
            index[column] = {value: np.array(series) for value, series in sorted(values.items())}
        return index

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        """Stores and families in alphabetical order, as errors name them."""
        return {field: sorted(values, key=str.casefold) for field, values in self._series_of.items()}

    def select(self, *, store_nbr: Sequence[str] = (), family: Sequence[str] = ()) -> NDArray[np.intp]:
        """Indices of the series of these stores and families, ascending; an empty filter means all.

        UnknownSeriesError says that a value is unknown, or a family is sold in none of the stores asked for.
        """
        stores = self._matching("store_nbr", store_nbr)
        chosen = stores & self._matching("family", family)
        if not chosen.any():
            sold = {self.family[i] for i in np.flatnonzero(stores)}
            known = [name for name in self._names["family"] if name in sold]
            raise UnknownSeriesError("family", ", ".join(family), known)
        return np.flatnonzero(chosen)

    def interval_of_sum(self, series: NDArray[np.intp]) -> Ends | None:
        """Lower and upper end for each day of the sum of these series, as `select` gives them.

        None if they are not one series, a whole store, a whole family, or all: the errors of other sums were
        not looked at.
        """
        first = int(series[0])
        if len(series) == 1:
            return self.lower[first], self.upper[first]
        groups = {"total": {"": np.arange(len(self.family))}, **self._series_of}
        names = {"total": "", "store_nbr": self.store_nbr[first], "family": self.family[first]}
        for level, name in names.items():
            if level in self.sums and np.array_equal(groups[level][name], series):
                row = list(groups[level]).index(name)
                lower, upper = self.sums[level]
                return lower[row], upper[row]
        return None

    def _matching(self, field: str, values: Sequence[str]) -> NDArray[np.bool_]:
        """Which series are of one of these values, or of any if there are none."""
        known = self._series_of[field]
        matching = np.full(len(self.family), not values)
        for value in values:
            if value not in known:
                raise UnknownSeriesError(field, value, self._names[field])
            matching[known[value]] = True
        return matching

    def rows(self, days: int, series: Iterable[int]) -> list[PredictionRow]:
        """The first `days` days of these series, ordered by series, then date."""
        if not 1 <= days <= self.horizon:
            raise ValueError(f"range must be 1 to {self.horizon} days, not {days}")
        dates = self.dates[:days]
        return [
            PredictionRow(date, self.store_nbr[i], self.family[i], sales, lower, upper)
            for i in series
            for date, sales, lower, upper in zip(
                dates,
                self.sales[i, :days].tolist(),
                self.lower[i, :days].tolist(),
                self.upper[i, :days].tolist(),
                strict=True,
            )
        ]


@dataclass(frozen=True, eq=False)
class History:
    """Sales of every series on the last days of the training data; ValueError as for `Forecast`."""

    dates: tuple[datetime.date, ...]  # consecutive, at most HISTORY_DAYS; the last is the last training day
    sales: Table  # shape (series of the version's `Forecast`, days); NaN before a series begins

    def __post_init__(self) -> None:
        _check_dates(self.dates)
        if self.sales.ndim != 2 or self.sales.shape[1] != len(self.dates) or self.sales.dtype != np.float64:
            raise ValueError(f"sales must be float64 of {len(self.dates)} days")
        if not ((self.sales >= 0) & np.isfinite(self.sales) | np.isnan(self.sales)).all():
            raise ValueError("sales must be >= 0 and finite, or NaN")


def _check_dates(dates: Sequence[datetime.date]) -> None:
    day = datetime.timedelta(days=1)
    if any(type(date) is not datetime.date for date in dates):
        raise ValueError("dates must be days")
    if not dates or any(left + day != right for left, right in pairwise(dates)):
        raise ValueError("dates must be consecutive, and at least one")
