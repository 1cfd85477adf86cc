"""What a model knows about a day to forecast: everything up to the origin, and the calendar of the day."""

import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.forecasting.closed_days import closed_days
from services.forecasting.panel import SEASON, YEAR, Panel

_WINDOWS = (7, 14, 28, 56, 112, 364)
_WEEKS = (1, 4, 8, 26)
_CALENDAR = ("weekday", "day_of_month", "day_of_year", "days_to_christmas")


class Features:
    """Features of a panel, computed for any (series, origin, day) by differences of running sums.

    An origin is the number of days known: day `origin - 1` is the last one seen. Means are over days on
    which the store was not expected to be closed. Promotions of days to come are not known; what a series'
    promotions were like until the origin, a week and a year ago stands for them.

    Attributes:
        closed: on which days the store of a series is expected to be closed, shape (series, panel's days
            and horizon).
    """

    def __init__(self, panel: Panel, horizon: int):
        """Prepare for days up to `horizon` after the panel's end."""
        self._promoted = panel.onpromotion is not None
        self._days = panel.days
        last = panel.days + horizon
        self.closed = closed_days(panel, last)
        begun = ~np.isnan(panel.sales)
        sales = np.nan_to_num(panel.sales)
        trading = begun & ~self.closed[:, : panel.days]
        self._sales = _Means(sales, trading)
        self._begin = (~begun).sum(axis=1)
        self._squares = _Means(sales**2, trading)
        self._sold = _Means(sales > 0, trading)
        self._same_weekday = _Means(sales, trading, step=SEASON)
        day = np.arange(panel.days)
        self._last_sale = np.maximum.accumulate(np.where(sales > 0, day, -YEAR), axis=1)

        _, self._store = np.unique(np.array(panel.store_nbr), return_inverse=True)
        _, self._family = np.unique(np.array(panel.family), return_inverse=True)
        shape = (self._store.max() + 1, panel.days)
        of_store, store_trading = np.zeros(shape), np.zeros(shape, dtype=bool)
        np.add.at(of_store, self._store, np.where(trading, sales, 0.0))
        np.logical_or.at(store_trading, self._store, trading)
        self._store_sales = _Means(of_store, store_trading)

        if panel.onpromotion is not None:
            promotion = np.nan_to_num(panel.onpromotion)
            self._promotion = _Means(promotion, begun)
            self._promotion_same_weekday = _Means(promotion, begun, step=SEASON)

        self._like = _like_levels(self._sales, self._store, self._family, panel.days)

        dates = [panel.date(i) for i in range(last)]
        self._calendar = np.array(
            [
                (date.weekday(), date.day, date.timetuple().tm_yday, (_christmas(date) - date).days)
                for date in dates
            ],
            dtype=float,
        )

    def level(self, series: NDArray[np.intp], origin: NDArray[np.intp]) -> NDArray[np.float64]:
        """Scale of a series at an origin, units per open day, > 0.

        The mean of the last 112 days, shrunk towards that of all known days, which is shrunk towards the
        level of like series: those of the family and of the store.
        """
        recent, known = self._sales.sums(series, origin - 112, origin)
        always, days = self._sales.sums(series, np.zeros_like(origin), origin)
        overall = (always + 7 * self._like[series, origin]) / (days + 7)
        return (recent + 7 * overall) / (known + 7)

    def sold(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """On how many of the open days of the last year each series sold, and of how many."""
        who = np.arange(len(self._family))
        end = np.full_like(who, self._days)
        return self._sold.sums(who, end - YEAR, end)

    def rows(
        self, series: NDArray[np.intp], origin: NDArray[np.intp], day: NDArray[np.intp]
    ) -> dict[str, NDArray[Any]]:
        """The features of `day` for `series` as known at `origin` <= day, by name.

        Means are relative to the level of the series.
        """
        level = self.level(series, origin)
        means = {days: self._sales.between(series, origin - days, origin) for days in _WINDOWS}
        squares = self._squares.between(series, origin - 112, origin)
        # The last day before the origin with the weekday of `day`.
        same = day - SEASON * (1 + (day - origin) // SEASON)
        store = self._store[series]
        year_ago = day - YEAR
        columns = {
            "horizon": day - origin,
            **dict(zip(_CALENDAR, self._calendar[day].T, strict=True)),
            "store": store,
            "family": self._family[series],
            "level": np.log(level),
            "age": np.minimum(origin - self._begin[series], YEAR),
            **{f"mean_{days}": values / level for days, values in means.items()},
            **{f"share_sold_{days}": self._sold.between(series, origin - days, origin) for days in (28, 112)},
            "deviation_112": np.sqrt(np.maximum(squares - means[112] ** 2, 0)) / level,
            "days_since_sale": origin - 1 - self._last_sale[series, origin - 1],
            **{
                f"same_weekday_{weeks}": self._same_weekday.between(
                    series, same - SEASON * (weeks - 1), same + 1
                )
                / level
                for weeks in _WEEKS
            },
            "store_trend": _ratio(
                self._store_sales.between(store, origin - 14, origin),
                self._store_sales.between(store, origin - 112, origin),
            ),
            # How much more was sold around the day a year ago than before the origin a year ago.
            **{
                name: _ratio(
                    sales.between(who, year_ago - around, np.minimum(year_ago + around + 1, origin)),
                    sales.between(who, origin - YEAR - 56, origin - YEAR),
                )
                for name, sales, who, around in (
                    ("year_ago", self._sales, series, 10),
                    ("store_year_ago", self._store_sales, store, 7),
                )
            },
        }
        if self._promoted:
            of = self._promotion.between
            columns |= {f"promotion_{days}": of(series, origin - days, origin) for days in (7, 28, 112)}
            columns["promotion_same_weekday_4"] = self._promotion_same_weekday.between(
                series, same - SEASON * 3, same + 1
            )
            columns["promotion_year_ago"] = of(series, year_ago - 3, np.minimum(year_ago + 4, origin))
        return columns


def _like_levels(
    sales: "_Means", store: NDArray[np.intp], family: NDArray[np.intp], days: int
) -> NDArray[np.float64]:
    """Level that family and store of a series suggest at each origin, > 0, shape (series, days + 1).

    Effects of family and store on the logarithm of the level, each shrunk towards none: one huge series
    counts as one.
    """
    who = np.arange(len(store))
    levels = np.empty((len(store), days + 1))
    for origin in range(days + 1):
        total, known = sales.sums(who, np.full_like(who, origin - 112), np.full_like(who, origin))
        weight = np.where(total > 0, known / (known + 28), 0.0)
        level = np.log(np.where(total > 0, total, 1) / np.maximum(known, 1))
        # Without any series, one unit a week.
        common = (weight @ level - np.log(SEASON)) / (weight.sum() + 1)
        effects = np.zeros(len(store))
        for group in family, store:
            rest = weight * (level - common - effects)
            effects += (np.bincount(group, rest) / (np.bincount(group, weight) + 1))[group]
        levels[:, origin] = np.exp(common + effects)
    return levels


def _christmas(date: datetime.date) -> datetime.date:
    """The next one."""
    return datetime.date(date.year + (date > datetime.date(date.year, 12, 25)), 12, 25)


class _Means:
    """Means of a matrix's rows between two columns, over those that count and every `step`-th one."""

    def __init__(self, values: NDArray[Any], counted: NDArray[np.bool_], step: int = 1):
        self._step = step
        self._totals = self._running(np.where(counted, values, 0))
        self._counts = self._running(counted)

    def _running(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Column d + step holds the sum of columns d, d - step, d - 2 step, ..."""
        sums = np.zeros((values.shape[0], values.shape[1] + self._step))
        for day in range(values.shape[1]):
            sums[:, day + self._step] = sums[:, day] + values[:, day]
        return sums

    def sums(
        self, who: NDArray[np.intp], first: NDArray[np.intp], end: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Total and count of columns first, first + step, ..., end - 1; there are none before column 0."""
        after, before = np.maximum(end - 1 + self._step, 0), np.maximum(first, 0)
        return (
            self._totals[who, after] - self._totals[who, before],
            self._counts[who, after] - self._counts[who, before],
        )

    def between(
        self, who: NDArray[np.intp], first: NDArray[np.intp], end: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Mean of those columns, NaN where none counts."""
        total, count = self.sums(who, first, end)
        return np.divide(total, count, out=np.full(len(who), np.nan), where=count > 0)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quotient, NaN where there is nothing to compare with."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
