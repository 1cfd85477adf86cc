"""Classical forecasting methods, each fitted to every series on its own.

They see the days on which a series' store was open: closed days are neither learned from nor counted as
intermittent demand, and are forecast as 0. Many series are smoothed at once, a day per step.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps

import numpy as np

from services.forecasting.closed_days import closed_days
from services.forecasting.panel import BLOCK, SEASON, Fitted, Forecaster, Mask, Matrix, Numbers, Panel

_CROSTON_ALPHA = 0.1  # as Croston (1972) and Syntetos & Boylan (2005) recommend
_LEVEL_ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_SEASON_GAMMAS = (0.0, 0.02, 0.05, 0.1, 0.2)
_FIRST_DAYS = 28  # open days whose mean smoothing begins with


def seasonal_naive(panel: Panel, horizon: int) -> Fitted:
    """Each day is as the same weekday of the last week seen; a day not seen is 0."""
    last_week = np.nan_to_num(panel.sales[:, panel.days - SEASON :])
    return Fitted(last_week[:, np.arange(horizon) % SEASON])


def _alone(method: Callable[[Panel, Mask], Matrix]) -> Forecaster:
    """Forecaster of a method that takes BLOCK series and the days, known and ahead, when they are open."""

    @wraps(method)
    def forecaster(panel: Panel, horizon: int) -> Fitted:
        open_ = ~closed_days(panel, panel.days + horizon)
        open_[:, : panel.days] &= ~np.isnan(panel.sales)
        blocks = [slice(first, first + BLOCK) for first in range(0, len(open_), BLOCK)]
        parts = [method(replace(panel, sales=panel.sales[block]), open_[block]) for block in blocks]
        return Fitted(np.concatenate(parts))

    return forecaster


@_alone
def exponential_smoothing(panel: Panel, open_: Mask) -> Matrix:
    """ETS(A,N,A): a level and a weekly season, both smoothed.

    The smoothing parameters of a series are those of a grid with the least squared error one step ahead
    (Hyndman et al. 2008, https://doi.org/10.1007/978-3-540-71918-2, ch. 2).
    """
    level, season, _ = _smooth(panel, panel.sales, open_, _SEASON_GAMMAS)
    weekday = _weekdays(panel, open_.shape[1])[panel.days :]
    sales = np.maximum(level[:, None] + season[:, weekday], 0)
    return np.where(open_[:, panel.days :], sales, 0)


@_alone
def theta(panel: Panel, open_: Mask) -> Matrix:
    """The Theta method: exponential smoothing plus half the slope of a line through the past.

    Written as in Hyndman & Billah (2003), https://doi.org/10.1016/S0169-2070(01)00143-1, on sales divided by
    the ratio of their weekday's mean to that of all days.
    """
    past, weekday = open_[:, : panel.days], _weekdays(panel, open_.shape[1])
    sales = np.where(past, panel.sales, 0)
    ratio = np.zeros((len(sales), SEASON))
    overall = _mean(sales, past)
    for day in range(SEASON):
        own = past & (weekday[: panel.days] == day)
        np.divide(_mean(sales, own), overall, out=ratio[:, day], where=overall > 0)
    factor = ratio[:, weekday]
    # A weekday on which a series never sold says nothing about its level.
    counted = open_ & (factor > 0)
    used = counted[:, : panel.days]
    adjusted = np.divide(sales, factor[:, : panel.days], out=np.zeros_like(sales), where=used)
    level, _, alpha = _smooth(panel, adjusted, counted, (0.0,))

    step = np.cumsum(counted, axis=1, dtype=np.float64) - 1  # the open days of a series, numbered
    time = np.where(used, step[:, : panel.days] - _mean(step[:, : panel.days], used)[:, None], 0)
    spread = (time**2).sum(axis=1)
    slope = np.divide((time * adjusted).sum(axis=1), spread, out=np.zeros(len(sales)), where=spread > 0)
    count = used.sum(axis=1)
    ahead = step[:, panel.days :] - count[:, None]  # 0 on the first open day
    correction = (1 - (1 - alpha) ** count) / alpha
    forecast = level[:, None] + slope[:, None] / 2 * (ahead + correction[:, None])
    sales = np.maximum(forecast, 0) * factor[:, panel.days :]
    return np.where(counted[:, panel.days :], sales, 0)


@_alone
def croston(panel: Panel, open_: Mask) -> Matrix:
    """Croston's method for intermittent demand, with the correction of Syntetos & Boylan (2005).

    The mean size of a day with sales and the mean number of days between two of them are smoothed; their
    ratio, less the bias, is the forecast of every day (https://doi.org/10.1016/j.ijforecast.2004.10.001).
    """
    size, interval = np.zeros(len(open_)), np.zeros(len(open_))
    since = np.ones(len(open_))
    for day in range(panel.days):
        now, sold = open_[:, day], panel.sales[:, day]
        sale = now & (sold > 0)
        first = sale & (interval == 0)
        size += np.where(sale, np.where(first, 1, _CROSTON_ALPHA) * (sold - size), 0)
        interval += np.where(sale, np.where(first, 1, _CROSTON_ALPHA) * (since - interval), 0)
        since = np.where(sale, 1, since + now)
    rate = np.divide(size, interval, out=np.zeros_like(size), where=interval > 0)
    return np.where(open_[:, panel.days :], (1 - _CROSTON_ALPHA / 2) * rate[:, None], 0)


def _weekdays(panel: Panel, days: int) -> Numbers:
    return (panel.first_date.weekday() + np.arange(days)) % SEASON


def _mean(values: Matrix, counted: Mask) -> Matrix:
    """Of each row, over the columns that count; 0 where none does."""
    total = np.where(counted, values, 0.0).sum(axis=1)
    return total / np.maximum(counted.sum(axis=1), 1)


def _smooth(
    panel: Panel, sales: Matrix, counted: Mask, gammas: tuple[float, ...]
) -> tuple[Matrix, Matrix, Matrix]:
    """Level, season by weekday and the alpha of each series, with the parameters that erred least."""
    alpha, gamma = (each.ravel()[:, None] for each in np.meshgrid(_LEVEL_ALPHAS, gammas, indexing="ij"))
    count, weekday = len(sales), _weekdays(panel, panel.days)
    past = counted[:, : panel.days]
    first = past & (np.cumsum(past, axis=1) <= _FIRST_DAYS)
    level = np.tile(_mean(sales, first), (len(alpha), 1))
    season = np.zeros((SEASON, len(alpha), count))
    squares = np.zeros_like(level)
    for day in range(panel.days):
        now = season[weekday[day]]
        error = np.where(past[:, day], sales[:, day] - level - now, 0)
        squares += error**2
        level += alpha * error
        now += gamma * error
    best, series = squares.argmin(axis=0), np.arange(count)
    return level[best, series], season[:, best, series].T, alpha[best, 0]
