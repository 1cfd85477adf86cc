"""Daily sales of many series as matrices: one row per series, one column per day."""

import datetime
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from services.contracts.model import HORIZON_DAYS

SEASON = 7  # days in the season of daily sales
YEAR = 364  # days back to the same season and the same weekday
BLOCK = 512  # series worked on at a time, where what is made of each takes much memory

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.intp]

_BULK = 6  # more than so many times the mean of the days with sales before is a bulk order
_BULK_WINDOW = 112
_BULK_EVIDENCE = 3  # days with sales
_DAYS = 64


class UnusableSalesError(Exception):
    """Sales from which no model can be trained; the message says why."""


@dataclass(frozen=True, eq=False)
class Panel:
    """Sales of all series, sorted by (store_nbr, family), on consecutive days.

    Attributes:
        sales: units sold, shape (series, days); NaN before a series begins, never after.
        onpromotion: items on promotion, same shape and NaNs, or None where the data does not have it. It may
            have more columns: those of the days after the last sale for which promotions are planned.
    """

    first_date: datetime.date
    store_nbr: tuple[str, ...]
    family: tuple[str, ...]
    sales: Matrix
    onpromotion: Matrix | None

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Self:
        """From rows `date, store_nbr, family, sales[, onpromotion]` in any order.

        Rows without sales on the days that follow the last sale are the plan of promotions: nothing is
        promoted in a series that has none there. A plan that begins later is ignored, as is what lies beyond
        the horizon.

        Raises:
            UnusableSalesError: a series repeats a day or lacks one between its first and the last of all,
                or there are no rows.
        """
        # A filter copies the frame, even if it keeps each row.
        sold = frame.filter(pl.col("sales").is_not_null()) if frame["sales"].null_count() else frame
        if sold.is_empty():
            raise UnusableSalesError("there are no sales")
        # Each run of rows of one series is looked up once: rows of thousands of series are gigabytes.
        key = ["store_nbr", "family"]
        run = sold.select(pl.col("store_nbr").rle_id() + pl.col("family").rle_id()).to_series().rle_id()
        heads = sold.select(key).filter(run.diff().fill_null(1) > 0)
        keys = heads.unique().sort(key)
        numbered = keys.with_row_index("series")
        series = heads.join(numbered, on=key, how="left", maintain_order="left")
        days = sold["date"].to_physical().to_numpy()
        first = int(days.min())
        at = series["series"].to_numpy()[run.to_numpy()], days - first

        def matrix(column: str) -> Matrix:
            values = np.full((len(keys), days.max() - first + 1), np.nan)
            values[at] = sold[column].cast(pl.Float64).to_numpy()
            return values

        sales = matrix("sales")
        begun = np.maximum.accumulate(~np.isnan(sales), axis=1)
        bad = np.flatnonzero((begun & np.isnan(sales)).any(axis=1))
        if len(bad) or len(sold) != begun.sum():
            names = [f"{store}, {family}" for store, family in keys[bad[:5]].iter_rows()] or ["repeated days"]
            raise UnusableSalesError(f"series do not have one row for each day: {'; '.join(names)}")
        onpromotion = matrix("onpromotion") if "onpromotion" in frame.columns else None
        if onpromotion is not None and sold is not frame:
            days_ahead = (pl.col("date") - sold["date"].max()).dt.total_days() - 1
            planned = frame.filter(pl.col("sales").is_null(), days_ahead.is_between(0, HORIZON_DAYS - 1))
            rows = planned.join(numbered, on=key).select("series", "onpromotion", days_ahead)
            of, promoted, ahead = (column.to_numpy() for column in rows)
            if (ahead == 0).any():
                plan = np.zeros((len(keys), ahead.max() + 1))
                plan[of, ahead] = promoted
                onpromotion = np.concatenate([onpromotion, plan], axis=1)
        first_date = datetime.date(1970, 1, 1) + datetime.timedelta(days=first)
        return cls(first_date, tuple(keys["store_nbr"]), tuple(keys["family"]), sales, onpromotion)

    @property
    def days(self) -> int:
        """Number of days."""
        return self.sales.shape[1]

    @property
    def planned(self) -> int:
        """Number of days after the last for which promotions are known."""
        return 0 if self.onpromotion is None else self.onpromotion.shape[1] - self.days

    @property
    def last_date(self) -> datetime.date:
        """Day of the last column."""
        return self.date(self.days - 1)

    def date(self, day: int) -> datetime.date:
        """The date of a column; those after the last are in the future."""
        return self.first_date + datetime.timedelta(days=day)

    def until(self, day: int) -> Self:
        """What was known before column `day`; promotions were planned as far ahead as they are now."""
        promotion = None if self.onpromotion is None else self.onpromotion[:, : day + self.planned]
        return replace(self, sales=self.sales[:, :day], onpromotion=promotion)

    def part(self, rows: slice) -> Self:
        """Some of the series."""
        promotion = None if self.onpromotion is None else self.onpromotion[rows]
        keys = {"store_nbr": self.store_nbr[rows], "family": self.family[rows]}
        return replace(self, sales=self.sales[rows], onpromotion=promotion, **keys)

    def sold_days(self) -> tuple[Numbers, Numbers]:
        """On how many days of the last year each series sold, and of how many since it began."""
        year = self.sales[:, -YEAR:]
        return (year > 0).sum(axis=1), (~np.isnan(year)).sum(axis=1)

    def groups(self, level: str) -> Numbers:
        """Number of the group at a level of LEVELS that each series belongs to; groups are sorted by name."""
        if level == "total":
            return np.zeros(len(self.family), dtype=np.intp)
        if level == "series":
            return np.arange(len(self.family))
        return np.unique(np.array(getattr(self, level)), return_inverse=True)[1]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of keys and values, whatever the order of the rows they came from."""
        keys = [self.first_date.isoformat(), self.store_nbr, self.family, self.sales.shape]
        digest = hashlib.sha256(json.dumps(keys).encode())
        for values in (self.sales, self.onpromotion):
            digest.update(b"-" if values is None else np.ascontiguousarray(values, "<f8").data)
        return digest.hexdigest()

    def to_learn_from(self) -> Self:
        """The panel without what misleads a model: leading zeros and bulk orders.

        A series begins with its first sale. Nobody foresees a bulk order, and a single one, up to a thousand
        times the usual, would lift the forecast of all days. It counts as _BULK times the mean of the series'
        days with sales before it, or as what the series has reached _BULK_EVIDENCE times, which is forgotten
        by half in two years: where large orders come often, they are part of what to expect. A day's value
        depends on the days before it only.
        """
        begun = np.maximum.accumulate(np.nan_to_num(self.sales) > 0, axis=1)
        sales = np.where(begun, self.sales, np.nan)
        total, count = np.zeros(len(sales)), np.zeros(len(sales))
        largest = np.zeros((len(sales), _BULK_EVIDENCE))  # ascending
        for day in range(self.days):
            cap = np.maximum(_BULK * total / np.maximum(count, 1), largest[:, 0])
            bulk = (count >= _BULK_EVIDENCE) & (sales[:, day] > cap)
            largest *= 0.5 ** (1 / (2 * YEAR))
            largest = np.sort(np.column_stack([largest, np.nan_to_num(sales[:, day])]), axis=1)[:, 1:]
            sales[bulk, day] = cap[bulk]
            total += np.nan_to_num(sales[:, day])
            count += sales[:, day] > 0
            if day >= _BULK_WINDOW:
                total -= np.nan_to_num(sales[:, day - _BULK_WINDOW])
                count -= sales[:, day - _BULK_WINDOW] > 0
        if self.onpromotion is None:
            return replace(self, sales=sales)
        begun = np.pad(begun, ((0, 0), (0, self.planned)), mode="edge")
        return replace(self, sales=sales, onpromotion=np.where(begun, self.onpromotion, np.nan))


def summed(values: Matrix, groups: Numbers) -> Matrix:
    """Sums by group and day, NaN where no member has a value; the values themselves if each is a group."""
    if np.array_equal(groups, np.arange(len(groups))):
        return values
    count = groups.max() + 1
    sums = np.empty((count, values.shape[1]))
    for first in range(0, values.shape[1], _DAYS):
        # Some days at a time, since one column of a matrix touches all of its memory.
        for day, column in enumerate(np.ascontiguousarray(values[:, first : first + _DAYS].T), first):
            known = ~np.isnan(column)
            total = np.bincount(groups[known], column[known], count)
            sums[:, day] = np.where(np.bincount(groups[known], minlength=count) > 0, total, np.nan)
    return sums


class Fitted(NamedTuple):
    """A forecast, and what was learned for it."""

    sales: Matrix  # expected units per day after the panel's end, shape (series, days ahead), >= 0
    files: Mapping[str, bytes] = MappingProxyType({})  # what was learned, name to content
    parts: Mapping[str, Matrix] = MappingProxyType({})  # forecasts it was made of that are candidates, too


Forecaster = Callable[[Panel, int], Fitted]
"""A method: learns from a panel and forecasts so many days after its end; UnusableSalesError if it cannot."""
