"""Daily sales of many series as matrices: one row per series, one column per day."""

import datetime
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

SEASON = 7
"""Days in the season of daily sales."""

YEAR = 364
"""Days back to the same season and the same weekday."""

BLOCK = 512
"""Series worked on at a time, where what is made of each takes much memory."""

# More than so many times the mean of the days with sales before is a bulk order.
_BULK = 6
_BULK_WINDOW = 112
_BULK_EVIDENCE = 3  # days with sales


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
        # Each run of rows of one series is looked up once: rows of thousands of series are gigabytes.
        run = frame.select(pl.col("store_nbr").rle_id() + pl.col("family").rle_id()).to_series().rle_id()
        heads = frame.select("store_nbr", "family").filter(run.diff().fill_null(1) > 0)
        keys = heads.unique().sort("store_nbr", "family")
        series = heads.join(
            keys.with_row_index("series"), on=["store_nbr", "family"], how="left", maintain_order="left"
        )["series"].to_numpy()[run.to_numpy()]
        days = frame["date"].to_physical().to_numpy()
        first = int(days.min())
        at = series, days - first

        def matrix(column: str) -> NDArray[np.float64]:
            values = np.full((len(keys), days.max() - first + 1), np.nan)
            values[at] = frame[column].cast(pl.Float64).to_numpy()
            return values

        sales = matrix("sales")
        begun = np.maximum.accumulate(~np.isnan(sales), axis=1)
        bad = np.flatnonzero((begun & np.isnan(sales)).any(axis=1))
        if len(bad) or len(frame) != begun.sum():
            names = [f"{store}, {family}" for store, family in keys[bad[:5]].iter_rows()] or ["repeated days"]
            raise UnusableSalesError(f"series do not have one row for each day: {'; '.join(names)}")
        return cls(
            first_date=datetime.date(1970, 1, 1) + datetime.timedelta(days=first),
            store_nbr=tuple(keys["store_nbr"]),
            family=tuple(keys["family"]),
            sales=sales,
            onpromotion=matrix("onpromotion") if "onpromotion" in frame.columns else None,
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
        promotion = None if self.onpromotion is None else np.where(begun, self.onpromotion, np.nan)
        return replace(self, sales=sales, onpromotion=promotion)


class Fitted(NamedTuple):
    """A forecast, and what was learned for it.

    Attributes:
        sales: expected units per day after the panel's end, shape (series, days ahead), >= 0.
        files: what was learned, name to content.
    """

    sales: NDArray[np.float64]
    files: Mapping[str, bytes] = MappingProxyType({})


Forecaster = Callable[[Panel, int], Fitted]
"""A method of forecasting daily sales: learns from a panel and forecasts so many days after its end.

It raises UnusableSalesError if there is nothing to learn from.
"""
