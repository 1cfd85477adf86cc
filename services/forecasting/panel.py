"""Daily sales of many series as matrices: one row per series, one column per day."""

import datetime
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

SEASON = 7
"""Days in the season of daily sales."""

# A weekday on which a store traded less often than this is closed; one Saturday in two years was not.
_CLOSED_SHARE = 0.05
# Weeks looked at to tell which weekdays are closed: a year, to see a change of habits.
_CLOSED_WEEKS = 52
# A day of the year without trade is a holiday once it has been seen this often.
_HOLIDAY_YEARS = 2
# Of the number month * 31 + day.
_DAYS_OF_YEAR = 12 * 31 + 31 + 1


class UnusableSalesError(Exception):
    """Sales from which no model can be trained; the message says why."""


@dataclass(frozen=True, eq=False)
class Panel:
    """Sales of all series.

    Attributes:
        first_date: day of the first column; the days are consecutive.
        store_nbr: store of each series; series are sorted by (store_nbr, family).
        family: family of each series.
        sales: units sold, shape (series, days); NaN before a series begins, never after.
        onpromotion: items on promotion, same shape and NaNs, or None where the data does not have it.
    """

    first_date: datetime.date
    store_nbr: tuple[str, ...]
    family: tuple[str, ...]
    sales: NDArray[np.float64]
    onpromotion: NDArray[np.float64] | None

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Self:
        """From rows `date, store_nbr, family, sales[, onpromotion]` in any order.

        Raises:
            UnusableSalesError: a series repeats a day or lacks one between its first and the last of all,
                or there are no rows.
        """
        if frame.is_empty():
            raise UnusableSalesError("there are no sales")
        keys = frame.select("store_nbr", "family").unique().sort("store_nbr", "family")
        rows = frame.join(keys.with_row_index("series"), on=["store_nbr", "family"])
        first, last = rows["date"].to_physical().min(), rows["date"].to_physical().max()
        assert isinstance(first, int)  # noqa: S101 -- not empty, so both are day numbers
        assert isinstance(last, int)  # noqa: S101
        at = rows["series"].to_numpy(), rows["date"].to_physical().to_numpy() - first

        def matrix(column: str) -> NDArray[np.float64]:
            values = np.full((len(keys), last - first + 1), np.nan)
            values[at] = rows[column].cast(pl.Float64).to_numpy()
            return values

        sales = matrix("sales")
        begun = np.maximum.accumulate(~np.isnan(sales), axis=1)
        bad = np.flatnonzero((begun & np.isnan(sales)).any(axis=1))
        if len(bad) or len(rows) != begun.sum():
            names = [f"{store}, {family}" for store, family in keys[bad[:5]].iter_rows()] or ["repeated days"]
            raise UnusableSalesError(f"series do not have one row for each day: {'; '.join(names)}")
        return cls(
            first_date=datetime.date(1970, 1, 1) + datetime.timedelta(days=first),
            store_nbr=tuple(keys["store_nbr"]),
            family=tuple(keys["family"]),
            sales=sales,
            onpromotion=matrix("onpromotion") if "onpromotion" in rows.columns else None,
        )

    @property
    def days(self) -> int:
        """Number of days."""
        return self.sales.shape[1]

    @property
    def last_date(self) -> datetime.date:
        """Day of the last column."""
        return self.date(self.days - 1)

    def date(self, day: int) -> datetime.date:
        """The date of a column; those after the last are in the future."""
        return self.first_date + datetime.timedelta(days=day)

    def until(self, day: int) -> Self:
        """What was known before column `day`."""
        promotion = None if self.onpromotion is None else self.onpromotion[:, :day]
        return replace(self, sales=self.sales[:, :day], onpromotion=promotion)

    def fingerprint(self) -> str:
        """SHA-256 of keys and values, whatever the order of the rows they came from."""
        digest = hashlib.sha256(
            json.dumps([self.first_date.isoformat(), self.store_nbr, self.family, self.sales.shape]).encode()
        )
        for values in (self.sales, self.onpromotion):
            digest.update(b"-" if values is None else values.astype("<f8").tobytes())
        return digest.hexdigest()

    def closed(self, first: int, last: int) -> NDArray[np.bool_]:
        """On which days of columns first..last-1 the store of each series is expected to be closed.

        Learned from the panel's own days alone. Closed are weekdays on which a store did not trade in the
        past year (but for 5 %), and days of the year on which, in the whole panel, no store ever traded:
        at least two of them, one on a weekday that is open otherwise (one alone may be a moving holiday).

        Returns:
            Shape (series, last - first).
        """
        weekday = np.array([self.date(day).weekday() for day in range(max(last, self.days))])
        of_year = np.array([self.date(day).timetuple()[1:3] for day in range(max(last, self.days))]) @ [31, 1]
        stores, store = np.unique(np.array(self.store_nbr), return_inverse=True)
        trade = np.zeros((len(stores), self.days))
        np.add.at(trade, store, np.nan_to_num(self.sales))

        recent = slice(max(0, self.days - _CLOSED_WEEKS * SEASON), self.days)
        closed_weekday = np.stack(
            [
                (trade[:, recent] > 0)[:, weekday[recent] == day].mean(axis=1) < _CLOSED_SHARE
                for day in range(SEASON)
            ],
            axis=1,
        )
        past = slice(0, self.days)
        nobody = trade.max(axis=0) == 0
        times = np.bincount(of_year[past], minlength=_DAYS_OF_YEAR)
        quiet = np.bincount(of_year[past], weights=nobody, minlength=_DAYS_OF_YEAR)
        telling = nobody & (closed_weekday.min(axis=0) == 0)[weekday[past]]
        telling = np.bincount(of_year[past], weights=telling, minlength=_DAYS_OF_YEAR)
        holiday = (quiet == times) & (quiet >= _HOLIDAY_YEARS) & (telling > 0)
        return closed_weekday[store][:, weekday[first:last]] | holiday[of_year[first:last]]
