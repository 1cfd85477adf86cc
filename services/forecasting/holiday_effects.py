"""How much more or less is sold on public holidays on which stores are open.

A forecaster hardly sees it: few of the days that it learns from are holidays, which move, too. So it is
measured beside the forecasters, as a factor for each holiday and its eve, and used if the backtest says so.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from services.contracts.model import HORIZON_DAYS, LEVELS
from services.forecasting.backtest import HORIZON, Window
from services.forecasting.closed_days import NATIONAL, closed_and_country, likely_country, public_holidays
from services.forecasting.panel import SEASON, Matrix, Numbers, Panel, summed

_WEEKS = 4  # before and after, in which a day's sales are compared with those of the same weekday
# Where no closed days tell the country, how unusual the sales of all stores have to be on its holidays: in
# standard deviations of the mean rank of as many days drawn at random. There are 200 countries.
_UNUSUAL = 5.0
# How many times a holiday has to be seen before its own factor counts as much as that of others.
_TIMES = 1
# Units sold on a holiday from which on a factor counts, where the variance of sales is their mean. More
# where it is larger, since a single large order says nothing about the day.
_UNITS = 10
_LEAST = 0.1  # a factor nearer to one is noise
# By how much errors on holidays and eves have to be less with the factors, in how many windows at least:
# most of them have to agree. Forecasters know some of it, such as what is sold on the eve of a closed day.
_MARGIN = 0.1
_WINDOWS = 2


class HolidayEffects:
    """Factors of the sales on public holidays, as known at each origin and at the panel's end."""

    def __init__(self, usual: Panel, origins: Sequence[int]):
        self._members = usual.groups("store_nbr")
        stores = tuple(sorted(set(usual.store_nbr)))
        chain = Panel(usual.first_date, stores, stores, summed(usual.sales, self._members), None)
        found = [_factors(chain.until(known)) for known in (*origins, usual.days)]
        self.country = found[-1][0]  # whose holidays they are; None if the sales show none
        self._factors = [factors for _, factors in found]

    def windows(self, windows: Sequence[Window], actual: Panel) -> tuple[list[Window], bool]:
        """The windows, with factors where these had helped in those that were over; and if they do now."""
        chosen: list[Window] = []
        errors: list[tuple[int, Matrix]] = []

        def help_by(known: int) -> bool:
            over = [each for origin, each in errors if origin + HORIZON <= known and each.min() > 0]
            better = [(given / without).mean() < 1 for without, given in over]
            if len(over) < _WINDOWS or sum(better) * 2 <= len(over):
                return False
            without, given = np.sum(over, axis=0)
            return bool((given / without).mean() < 1 - _MARGIN)

        for window, factors in zip(windows, self._factors[:-1], strict=True):
            other = replace(window, sales=self._times(window.sales, factors))
            chosen.append(other if help_by(window.origin) else window)
            errors.append((window.origin, _errors(window, other, factors, actual)))
        return chosen, help_by(actual.days)

    def forecast(self, sales: Matrix) -> Matrix:
        """A forecast from the panel's end, with the factors."""
        return self._times(sales, self._factors[-1])

    def _times(self, sales: Matrix, factors: Matrix) -> Matrix:
        return sales * factors[self._members] if (factors != 1).any() else sales


def _errors(window: Window, other: Window, factors: Matrix, actual: Panel) -> Matrix:
    """Sums of absolute errors of two forecasts on the days that factors change, at each level."""
    days = np.flatnonzero((factors[:, :HORIZON] != 1).any(axis=0))
    sold = actual.sales[:, window.origin : window.origin + HORIZON][:, days]
    excess = [each.sales[:, days] - sold for each in (window, other)]
    groups = [actual.groups(level) for level in LEVELS]
    return np.array([[np.nansum(np.abs(summed(one, members))) for members in groups] for one in excess])


def _factors(chain: Panel) -> tuple[str | None, Matrix]:
    """The country, and the factor of each store on the days ahead; `chain` has one series for each store."""
    known = chain.days
    dates = [chain.date(day) for day in range(known + HORIZON_DAYS)]
    factors = np.ones((len(chain.sales), HORIZON_DAYS))
    closed, country = closed_and_country(chain, known)
    sold = np.where(closed, np.nan, chain.sales)
    usual = _usual(sold)
    sold[np.isnan(usual)] = np.nan
    usual[np.isnan(sold)] = np.nan
    all_sold, all_usual = np.nan_to_num(chain.sales).sum(axis=0), np.nansum(_usual(chain.sales), axis=0)
    change = np.abs(np.log((all_sold + 1) / (all_usual + 1)))
    rank = change.argsort().argsort() / max(known - 1, 1) - 0.5

    def unusual(days: Numbers) -> float:
        past = days[days < known]
        past = past[all_usual[past] > 0]
        return float(rank[past].sum() / np.sqrt(max(len(past), SEASON) / 12))

    country = country or likely_country(dates, unusual, _UNUSUAL)
    if country is None:
        return None, factors
    named = public_holidays(country, dates)
    national = set(named.pop(NATIONAL).tolist())
    # All stores together are one more row.
    traded = (usual > 0).any(axis=0)
    sold, usual = (
        np.vstack([each, np.where(traded, np.nansum(each, axis=0), np.nan)]) for each in (sold, usual)
    )
    stores, together = slice(-1), slice(-1, None)
    squares = np.nansum((sold - usual) ** 2, axis=1)
    dispersion = np.maximum(squares / np.maximum(np.nansum(usual, axis=1), 1), 1)

    def shrunk(rows: slice, days: Numbers, typical: float | Matrix) -> Matrix:
        """Factor of each row on these days, shrunk towards what is typical."""
        expected = usual[rows][:, days]
        units = np.nansum(expected, axis=1)
        weight = _TIMES * units / np.maximum((~np.isnan(expected)).sum(axis=1), 1) + _UNITS * dispersion[rows]
        return (np.nansum(sold[rows][:, days], axis=1) + weight * typical) / (units + weight)

    for eve in (1, 0):  # a holiday that is the eve of another one is itself
        seen = np.array([day - eve for day in national if 0 <= day - eve < known], dtype=np.intp)
        common = shrunk(together, seen, 1.0)
        of_store = shrunk(stores, seen, common) / common
        for days in named.values():
            past, ahead = days[days - eve < known] - eve, days[days - eve >= known] - eve - known
            past = past[past >= 0]
            # Of a part of the country's alone nothing is expected before it was seen.
            shared, own = (common, of_store) if national.issuperset(days.tolist()) else (1.0, 1.0)
            factors[:, ahead] = shrunk(stores, past, own * shrunk(together, past, shared))[:, None]
    factors[np.abs(factors - 1) < _LEAST] = 1
    return country, factors


def _usual(sales: Matrix) -> Matrix:
    """Mean of the same weekday in the weeks around each day, NaN where there is none."""
    days = sales.shape[1]
    total, count = np.zeros_like(sales), np.zeros_like(sales)
    for weeks in (*range(-_WEEKS, 0), *range(1, _WEEKS + 1)):
        shift = weeks * SEASON
        to, of = slice(max(-shift, 0), days - max(shift, 0)), slice(max(shift, 0), days - max(-shift, 0))
        total[:, to] += np.nan_to_num(sales[:, of])
        count[:, to] += ~np.isnan(sales[:, of])
    return np.divide(total, count, out=np.full_like(sales, np.nan), where=count > 0)
