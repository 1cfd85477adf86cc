"""What a model knows about a day to forecast: everything up to the origin, and the calendar of the day."""

import datetime

import numpy as np
from numpy.typing import NDArray

from services.forecasting.panel import SEASON, Panel

YEAR = 364
"""Days back to the same season and the same weekday."""
_WINDOWS = (7, 14, 28, 56, 112, 364)
_WEEKS = (1, 4, 8, 26)
_PROMOTION_WINDOWS = (7, 28, 112)

NAMES = (
    "horizon",
    "weekday",
    "day_of_month",
    "day_of_year",
    "days_to_christmas",
    "market",
    "product",
    "level",
    *(f"mean_{days}" for days in _WINDOWS),
    *(f"share_sold_{days}" for days in (28, 112)),
    "deviation_112",
    "days_since_sale",
    *(f"same_weekday_{weeks}" for weeks in _WEEKS),
    "market_trend",
    "year_ago",
    "market_year_ago",
)
PROMOTION_NAMES = (
    *(f"promotion_{days}" for days in _PROMOTION_WINDOWS),
    "promotion_same_weekday_4",
    "promotion_year_ago",
)


class Features:
    """Features of a panel, computed for any (series, origin, day) by differences of running sums.

    An origin is the number of days known: day `origin - 1` is the last one seen. Means are over days on
    which the market was not expected to be closed.
    """

    def __init__(self, panel: Panel, horizon: int):
        """Prepare for days up to `horizon` after the panel's end."""
        self._panel = panel
        last = panel.days + horizon
        self.closed = panel.closed(0, last)
        self._open = ~self.closed[:, : panel.days] & ~np.isnan(panel.sales)
        sales = np.nan_to_num(panel.sales)
        self._known = _Sums(self._open.astype(float))
        self._sales = _Sums(np.where(self._open, sales, 0.0))
        self._squares = _Sums(np.where(self._open, sales**2, 0.0))
        self._sold = _Sums(((sales > 0) & self._open).astype(float))
        self._known_week = _Sums(self._open.astype(float), step=SEASON)
        self._sales_week = _Sums(np.where(self._open, sales, 0.0), step=SEASON)
        day = np.arange(panel.days)
        self._last_sale = np.maximum.accumulate(np.where(sales > 0, day, -YEAR), axis=1)

        _, self._market = np.unique(np.array(panel.store_nbr), return_inverse=True)
        _, self._product = np.unique(np.array(panel.family), return_inverse=True)
        of_market = np.zeros((self._market.max() + 1, panel.days))
        np.add.at(of_market, self._market, np.where(self._open, sales, 0.0))
        known = np.zeros_like(of_market)
        np.maximum.at(known, self._market, self._open.astype(float))
        self._market_sales, self._market_known = _Sums(of_market), _Sums(known)

        if panel.onpromotion is not None:
            promotion = np.nan_to_num(panel.onpromotion)
            self._promotion = _Sums(promotion)
            self._promotion_week = _Sums(promotion, step=SEASON)
            self._begun = _Sums((~np.isnan(panel.sales)).astype(float))
            self._begun_week = _Sums((~np.isnan(panel.sales)).astype(float), step=SEASON)

        dates = [panel.date(i) for i in range(last)]
        self._calendar = np.array(
            [
                (
                    date.weekday(),
                    date.day,
                    date.timetuple().tm_yday,
                    (
                        datetime.date(date.year + (date > datetime.date(date.year, 12, 25)), 12, 25) - date
                    ).days,
                )
                for date in dates
            ],
            dtype=float,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of `rows`."""
        return NAMES if self._panel.onpromotion is None else NAMES + PROMOTION_NAMES

    def level(self, series: NDArray[np.intp], origin: NDArray[np.intp]) -> NDArray[np.float64]:
        """Scale of a series at an origin, units per open day, > 0.

        The mean of the last 112 days, shrunk towards that of all known days, which is what a series
        without recent ones has.
        """
        recent, known = (s.between(series, origin - 112, origin) for s in (self._sales, self._known))
        always, days = (s.between(series, np.zeros_like(origin), origin) for s in (self._sales, self._known))
        overall = (always + 1) / (days + 7)
        return (recent + 7 * overall) / (known + 7)

    def rows(
        self, series: NDArray[np.intp], origin: NDArray[np.intp], day: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """The features of `day` for `series` as known at `origin` <= day.

        Means are relative to the level of the series.

        Returns:
            Shape (n, features).
        """
        level = self.level(series, origin)

        def mean(
            total: "_Sums",
            count: "_Sums",
            who: NDArray[np.intp],
            first: NDArray[np.intp],
            end: NDArray[np.intp],
        ) -> NDArray[np.float64]:
            known = count.between(who, first, end)
            return np.divide(
                total.between(who, first, end), known, out=np.full(len(who), np.nan), where=known > 0
            )

        means = {days: mean(self._sales, self._known, series, origin - days, origin) for days in _WINDOWS}
        squares = mean(self._squares, self._known, series, origin - 112, origin)
        # The last day before the origin with the weekday of `day`.
        same = day - SEASON * (1 + (day - origin) // SEASON)
        market = self._market[series]
        columns = [
            day - origin,
            *self._calendar[day].T,
            market,
            self._product[series],
            np.log(level),
            *(values / level for values in means.values()),
            *(mean(self._sold, self._known, series, origin - days, origin) for days in (28, 112)),
            np.sqrt(np.maximum(squares - means[112] ** 2, 0)) / level,
            origin - 1 - self._last_sale[series, origin - 1],
            *(
                mean(self._sales_week, self._known_week, series, same - SEASON * (weeks - 1), same + 1)
                / level
                for weeks in _WEEKS
            ),
            _ratio(
                mean(self._market_sales, self._market_known, market, origin - 14, origin),
                mean(self._market_sales, self._market_known, market, origin - 112, origin),
            ),
            # How much more was sold around the day a year ago than before the origin a year ago.
            _ratio(
                mean(self._sales, self._known, series, day - YEAR - 10, np.minimum(day - YEAR + 11, origin)),
                mean(self._sales, self._known, series, origin - YEAR - 56, origin - YEAR),
            ),
            _ratio(
                mean(
                    self._market_sales,
                    self._market_known,
                    market,
                    day - YEAR - 7,
                    np.minimum(day - YEAR + 8, origin),
                ),
                mean(self._market_sales, self._market_known, market, origin - YEAR - 56, origin - YEAR),
            ),
        ]
        if self._panel.onpromotion is not None:
            columns += [
                *(
                    mean(self._promotion, self._begun, series, origin - days, origin)
                    for days in _PROMOTION_WINDOWS
                ),
                mean(self._promotion_week, self._begun_week, series, same - SEASON * 3, same + 1),
                mean(
                    self._promotion, self._begun, series, day - YEAR - 3, np.minimum(day - YEAR + 4, origin)
                ),
            ]
        return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


class _Sums:
    """Sums of a matrix's rows between two columns, every `step`-th one counted back from the last."""

    def __init__(self, values: NDArray[np.float64], step: int = 1):
        self._step = step
        self._sums = np.zeros((values.shape[0], values.shape[1] + step))
        for day in range(values.shape[1]):
            self._sums[:, day + step] = self._sums[:, day] + values[:, day]

    def between(
        self, series: NDArray[np.intp], first: NDArray[np.intp], end: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Sum of columns first, first + step, ..., end - 1; those before the beginning count as 0."""
        upto = self._sums[series, np.maximum(end - 1 + self._step, 0)]
        return upto - self._sums[series, np.maximum(first, 0)]


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quotient, NaN where there is nothing to compare with."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
