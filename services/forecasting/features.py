"""What a model knows about a day to forecast: everything up to the origin, and the calendar of the day."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.forecasting.closed_days import closed_days
from services.forecasting.panel import BLOCK, SEASON, YEAR, Mask, Matrix, Numbers, Panel, summed

_WINDOWS = (7, 14, 28, 56, 112, 364)
_WEEKS = (1, 4, 8, 26)
_CALENDAR = ("weekday", "day_of_month", "day_of_year", "days_to_christmas")
# Fewer days tell nothing of seasons of the year and the month: trees would take the date for the cause of
# what happened around it, once. So would they with the number of days since all series began.
_LONG = YEAR * 3 // 2
_OLD = 112
_DAYS = 64


class Features:
    """Features of a panel, computed for any (series, origin, day) by differences of running sums.

    An origin is the number of days known: day `origin - 1` is the last one seen. Means are over days on
    which the store was not expected to be closed. What a series' promotions were like until the origin, a
    week and a year ago stands for promotions of days to come, unless these are planned.

    Running sums take many times the memory of the sales: they are made for BLOCK series at a time.
    """

    def __init__(self, panel: Panel, horizon: int, *, planned: bool = False):
        """Prepare for days up to `horizon` after the panel's end; `planned`: with the promotions planned."""
        self._panel = panel
        self._plan = panel.onpromotion if planned else None
        last = panel.days + horizon
        self.closed = closed_days(panel, last)  # of each series' store, shape (series, last)
        # Without weekdays: what else is closed, people buy for before, and after.
        self._holiday = self.closed.copy()
        for weekday in range(SEASON):
            days = self._holiday[:, weekday::SEASON]
            days[days.mean(axis=1) > 0.5] = False
        begun = ~np.isnan(panel.sales)
        self._begin = (~begun).sum(axis=1)
        trading = begun & ~self.closed[:, : panel.days]
        self._store, self._family = panel.groups("store_nbr"), panel.groups("family")
        store_sales = summed(np.where(trading, panel.sales, np.nan), self._store)
        self._store_sales = _Means(store_sales, ~np.isnan(store_sales))
        self._like = _LikeLevels(panel.sales, trading, self._store, self._family)

        calendar: list[tuple[float, ...]] = []
        for date in map(panel.date, range(last)):
            christmas = date.replace(month=12, day=25)
            if christmas < date:
                christmas = christmas.replace(year=date.year + 1)
            calendar.append((date.weekday(), date.day, date.timetuple().tm_yday, (christmas - date).days))
        self._calendar = np.array(calendar, dtype=float)
        long = panel.days - self._begin.min() >= _LONG
        self._calendar_names = _CALENDAR if long else _CALENDAR[:1]

    def rows(self, series: Numbers, origin: Numbers, day: Numbers) -> "Rows":
        """The features of `day` for `series` as known at `origin` <= day."""
        level = np.empty(len(series))
        columns: dict[str, Matrix] = {}
        starts = series // BLOCK * BLOCK
        for first in np.unique(starts).tolist():
            asked = np.flatnonzero(starts == first)
            block = _Block(self._panel, self.closed, first, planned=self._plan is not None)
            known = series[asked], origin[asked]
            level[asked] = block.level(*known, self._like.at(*known))
            for name, values in self._columns(block, *known, day[asked], level[asked]).items():
                columns.setdefault(name, np.empty(len(series)))[asked] = values
        return Rows(columns, level)

    def _columns(
        self, block: "_Block", series: Numbers, origin: Numbers, day: Numbers, level: Matrix
    ) -> dict[str, NDArray[Any]]:
        who = series - block.first
        # The last day before the origin with the weekday of `day`.
        same = day - SEASON * (1 + (day - origin) // SEASON)

        def recent(means: _Means, row: Numbers, days: int) -> Matrix:
            return means.between(row, origin - days, origin)

        def same_weekday(means: _Means, weeks: int) -> Matrix:
            return means.between(who, same - SEASON * (weeks - 1), same + 1)

        def around_year_ago(means: _Means, row: Numbers, days: int) -> Matrix:
            return means.between(row, day - YEAR - days, np.minimum(day - YEAR + days + 1, origin))

        def year_ago(means: _Means, row: Numbers, days: int) -> Matrix:
            before = means.between(row, origin - YEAR - 56, origin - YEAR)
            return _ratio(around_year_ago(means, row, days), before)

        store = self._store[series]
        means = {days: recent(block.sales, who, days) for days in _WINDOWS}
        variance = np.maximum(recent(block.squares, who, 112) - means[112] ** 2, 0)
        last = self._holiday.shape[1] - 1
        columns = {
            "horizon": day - origin,
            **dict(zip(self._calendar_names, self._calendar[day].T, strict=False)),
            "store": store,
            "family": self._family[series],
            "level": np.log(level),
            "age": np.minimum(origin - self._begin[series], _OLD),
            **{
                name: self._holiday[series[:, None], np.clip(day[:, None] + days, 0, last)].sum(axis=1)
                for name, days in (("holidays_before", (-3, -2, -1)), ("holidays_after", (1, 2, 3)))
            },
            **{f"mean_{days}": values / level for days, values in means.items()},
            **{f"share_sold_{days}": recent(block.sold, who, days) for days in (28, 112)},
            "deviation_112": np.sqrt(variance) / level,
            "days_since_sale": origin - 1 - block.last_sale[who, origin - 1],
            **{f"same_weekday_{weeks}": same_weekday(block.same_weekday, weeks) / level for weeks in _WEEKS},
            "store_trend": _ratio(*(recent(self._store_sales, store, days) for days in (14, 112))),
            # How much more was sold around the day a year ago than before the origin a year ago.
            "year_ago": year_ago(block.sales, who, 10),
            "day_year_ago": year_ago(block.sales, who, 0),
            "store_year_ago": year_ago(self._store_sales, store, 7),
        }
        if block.promotion and block.promotion_same_weekday:
            columns |= {f"promotion_{days}": recent(block.promotion, who, days) for days in (7, 28, 112)}
            columns["promotion_same_weekday_4"] = same_weekday(block.promotion_same_weekday, 4)
            columns["promotion_year_ago"] = around_year_ago(block.promotion, who, 3)
        if self._plan is not None:
            last = self._plan.shape[1] - 1
            plan = self._plan[series, np.minimum(day, last)]
            plan[day - origin >= self._panel.planned] = np.nan
            columns["promotion_planned"] = plan
            # Of the same weekday, the days with a promotion if one is planned, otherwise those without.
            for weeks in (8, 26):
                without, promoted = (same_weekday(means, weeks) for means in block.same_weekday_by_promotion)
                alike = np.where(plan > 0, promoted, without) / level
                columns[f"same_weekday_as_planned_{weeks}"] = np.where(np.isnan(plan), np.nan, alike)
            without, promoted = (recent(means, who, 112) for means in block.by_promotion)
            columns["promotion_lift"] = _ratio(promoted, without)
        return columns


@dataclass(frozen=True, eq=False)
class Rows:
    """Features of days to forecast."""

    columns: dict[str, Matrix]  # by name; means are relative to the level
    level: Matrix  # scale of the series at the origin, units per open day, > 0

    def matrix(self) -> Matrix:
        """The columns, shape (rows, features)."""
        return np.stack(list(self.columns.values()), axis=1)


class _Block:
    """Running sums of a few series."""

    def __init__(self, panel: Panel, closed: Mask, first: int, *, planned: bool):
        self.first = first
        series = slice(first, first + BLOCK)
        own = panel.sales[series]
        begun = ~np.isnan(own)
        sales = np.nan_to_num(own)
        trading = begun & ~closed[series, : panel.days]
        self.sales = _Means(sales, trading)
        self.squares = _Means(sales**2, trading)
        self.sold = _Means(sales > 0, trading)
        self.same_weekday = _Means(sales, trading, step=SEASON)
        day = np.arange(panel.days)
        self.last_sale = np.maximum.accumulate(np.where(sales > 0, day, -YEAR), axis=1)
        self.promotion = self.promotion_same_weekday = None
        if panel.onpromotion is not None:
            promotion = np.nan_to_num(panel.onpromotion[series, : panel.days])
            self.promotion = _Means(promotion, begun)
            self.promotion_same_weekday = _Means(promotion, begun, step=SEASON)
            if planned:
                # Of the days without a promotion, and with one.
                each = trading & (promotion == 0), trading & (promotion > 0)
                self.by_promotion = [_Means(sales, days) for days in each]
                self.same_weekday_by_promotion = [_Means(sales, days, step=SEASON) for days in each]

    def level(self, series: Numbers, origin: Numbers, like: Matrix) -> Matrix:
        """The mean of 112 days, shrunk towards that of all days, which is shrunk towards like series'."""
        who = series - self.first
        recent, known = self.sales.sums(who, origin - 112, origin)
        always, days = self.sales.sums(who, np.zeros_like(origin), origin)
        overall = (always + 7 * like) / (days + 7)
        return (recent + 7 * overall) / (known + 7)


class _LikeLevels:
    """Level that family and store of a series suggest at each origin, > 0.

    Effects of family and store on the logarithm of the level, each shrunk towards none: one huge series
    counts as one.
    """

    def __init__(self, sales: Matrix, trading: Mask, store: Numbers, family: Numbers):
        count, days = sales.shape
        self._common = np.empty(days + 1)
        self._effects = [(group, np.empty((group.max() + 1, days + 1))) for group in (family, store)]
        # Sum and number of the days before an origin, and of those before its last 112 days.
        until, before = np.zeros((2, 2, count))
        older = _days(sales, trading)
        for origin, day in enumerate(itertools.chain([np.zeros((2, count))], _days(sales, trading))):
            until += day
            if origin > 112:
                before += next(older)
            total, known = until - before
            weight = np.where(total > 0, known / (known + 28), 0.0)
            level = np.log(np.where(total > 0, total, 1) / np.maximum(known, 1))
            # Without any series, one unit a week.
            self._common[origin] = (weight @ level - np.log(SEASON)) / (weight.sum() + 1)
            rest = level - self._common[origin]
            effects = np.zeros(count)
            for group, of_group in self._effects:
                error = weight * (rest - effects)
                of_group[:, origin] = np.bincount(group, error) / (np.bincount(group, weight) + 1)
                effects += of_group[group, origin]

    def at(self, series: Numbers, origin: Numbers) -> Matrix:
        """The levels of these series at these origins."""
        effects = [of_group[group[series], origin] for group, of_group in self._effects]
        return np.exp(self._common[origin] + sum(effects))


def _days(sales: Matrix, trading: Mask) -> Iterator[Matrix]:
    """Of each day the sales of all series, and which of them trade, as 0 or 1.

    Copied some days at a time, since one column of a matrix touches all of its memory.
    """
    for first in range(0, sales.shape[1], _DAYS):
        days = slice(first, first + _DAYS)
        trade = trading[:, days].T
        yield from np.stack([np.where(trade, sales[:, days].T, 0.0), trade], axis=1)


class _Means:
    """Means of a matrix's rows between two columns, over those that count and every `step`-th one."""

    def __init__(self, values: NDArray[Any], counted: Mask, step: int = 1):
        self._step = step
        self._totals = self._running(np.where(counted, values, 0))
        self._counts = self._running(counted)

    def _running(self, values: NDArray[Any]) -> Matrix:
        """Column d + step holds the sum of columns d, d - step, d - 2 step, ..."""
        rows, days = values.shape
        steps = -(-days // self._step) + 1
        sums = np.zeros((rows, steps * self._step))
        sums[:, self._step : self._step + days] = values
        by_step = sums.reshape(rows, steps, self._step)
        np.cumsum(by_step, axis=1, out=by_step)
        return sums

    def sums(self, who: Numbers, first: Numbers, end: Numbers) -> tuple[Matrix, Matrix]:
        """Total and count of columns first, first + step, ..., end - 1; there are none before column 0."""
        after, before = np.maximum(end - 1 + self._step, 0), np.maximum(first, 0)
        return (
            self._totals[who, after] - self._totals[who, before],
            self._counts[who, after] - self._counts[who, before],
        )

    def between(self, who: Numbers, first: Numbers, end: Numbers) -> Matrix:
        """Mean of those columns, NaN where none counts."""
        total, count = self.sums(who, first, end)
        return np.divide(total, count, out=np.full(len(who), np.nan), where=count > 0)


def _ratio(part: Matrix, whole: Matrix) -> Matrix:
    """The quotient, NaN where there is nothing to compare with."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
