"""Prediction intervals from the errors of the backtest, for series and for sums of series.

An error is measured in the standard deviation that a forecast y has if its variance grows with it,
sqrt(phi * y), where phi is the dispersion of the series, known at the origin. Quantiles of a series' own
errors, shrunk towards those of all series, shape its interval; a factor for each series then makes it hold
the nominal share of the errors, another one for each third of the series by size, and one for each horizon
(conformal in spirit: Vovk et al., https://doi.org/10.1007/b106715). Few windows make all of them wider, more
so the more of the errors is common to all. New series get wider intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from services.contracts.model import HORIZON_DAYS, LEVELS, Coverage
from services.forecasting.backtest import HORIZON, Window
from services.forecasting.panel import BLOCK, Mask, Matrix, Numbers, Panel, summed

NOMINAL = 0.8
"""Share of days whose sales should fall into their interval."""
_DISPERSION_DAYS = 364
# Days for which a series' own dispersion has to speak before it outweighs the typical one.
_DISPERSION_SHRINKAGE = 28
_SHRINKAGE = 100  # errors, by days of windows that overlap, for which a series' own quantiles have to speak
_NEAREST = 0.05  # no end is nearer to the forecast, in the unit of errors
_HORIZONS = {"1-7": slice(7), "8-28": slice(7, 28), "29-60": slice(28, 60)}
_WHOLE = 14  # days of a window that tell what its errors have in common
_NEW_DAYS = 112  # for which a series is new
_NEW_FACTOR = 1.5  # how much wider its intervals are until errors of new series tell


@dataclass(frozen=True, eq=False)
class Past:
    """Sales of one level of aggregation, and forecasts of them."""

    actual: Matrix  # units sold, shape (groups, days), NaN before a group begins
    usual: Matrix  # the same without bulk orders
    windows: Sequence[Window]

    @classmethod
    def of(cls, windows: Sequence[Window], actual: Panel, usual: Panel, level: str) -> Self:
        """Sum up to a level."""
        members = actual.groups(level)
        return cls(
            summed(actual.sales, members),
            summed(usual.sales, members),
            [Window(window.origin, summed(window.sales, members)) for window in windows],
        )

    @cached_property
    def ratios(self) -> list[Matrix]:
        """Errors of each window in the unit of errors, for the days that are over."""
        result: list[Matrix] = []
        for window in self.windows:
            actual = self.actual[:, window.origin : window.origin + window.sales.shape[1]]
            sales = window.sales[:, : actual.shape[1]]
            result.append((actual - sales) / _deviation(sales, self.usual[:, : window.origin]))
        return result


class Intervals:
    """Ends of intervals as multiples of the standard deviation expected of a forecast."""

    def __init__(self, past: Past, known: int):
        """Learn from the errors of the days before column `known`."""
        seen: list[tuple[Matrix, Numbers, Mask]] = []
        for window, own in zip(past.windows, past.ratios, strict=True):
            days = min(window.sales.shape[1], known - window.origin)
            if days > 0:
                new = np.repeat(_new(past.usual[:, : window.origin])[:, None], days, axis=1)
                seen.append((own[:, :days], np.arange(days), new))
        ratio, horizon, young = map(np.hstack, zip(*seen, strict=True))
        tail = (1 - NOMINAL) / 2
        low, high = _quantiles(ratio, tail, 1 - tail)
        self._lower = np.maximum(-low, _NEAREST)[:, None]
        self._upper = np.maximum(high, _NEAREST)[:, None]
        score = np.where(ratio < 0, -ratio / self._lower, ratio / self._upper)
        # Errors of one window are alike: few windows are little evidence, as if one more, with all errors
        # outside, had not been seen. Windows overlap by half.
        windows = len(seen) / 2
        [own] = _quantiles(score, 1 - (1 - NOMINAL) * windows / (windows + 1))
        self._own = np.maximum(own, _NEAREST)[:, None]
        score /= self._own
        self._own *= _widened(np.where(ratio < 0, -score, score), horizon, windows)
        # The errors of what sells seldom have another shape: mostly a little above, now and then far below.
        third = _thirds(past.usual[:, :known])
        typical = _shrunk(score, 1.0)
        factors = np.array([_shrunk(score[third == each], typical) / typical for each in range(3)])
        factor = factors[third, None]
        self._own *= factor
        score /= factor
        self._horizon = np.ones(HORIZON_DAYS)
        least = 0.0
        for days in _HORIZONS.values():
            least = max(least, _shrunk(score[:, np.isin(horizon, np.arange(HORIZON_DAYS)[days])], 1.0))
            self._horizon[days] = least
        self._new = _shrunk(score[young], _NEW_FACTOR)

    def around(self, sales: Matrix, usual: Matrix) -> tuple[Matrix, Matrix]:
        """Lower and upper end around forecasts made at the end of `usual`; 0 <= lower <= sales <= upper."""
        deviation = _deviation(sales, usual) * self._own * self._horizon[: sales.shape[1]]
        deviation = np.where(sales > 0, deviation, 0) * np.where(_new(usual), self._new, 1)[:, None]
        return np.maximum(sales - self._lower * deviation, 0), sales + self._upper * deviation


def coverage(windows: Sequence[Window], actual: Panel, usual: Panel) -> Coverage:
    """Share of days on which actual sales fell into an interval made of what was known at the origin.

    One window at least ended before another began. Days forecast as closed are not counted, since they would
    flatter. `usual` has no bulk orders.
    """
    inside = {level: _inside(Past.of(windows, actual, usual, level)) for level in LEVELS}
    series = inside["series"]
    thirds, sizes = _thirds(actual.sales), ("small", "middle", "large")
    return Coverage(
        thirds={name: _mean(series[:, thirds == third]) for third, name in enumerate(sizes)},
        horizons={name: _mean(series[:, :, days]) for name, days in _HORIZONS.items()},
        levels={level: _mean(each) for level, each in inside.items()},
    )


def _inside(past: Past) -> Matrix:
    """1 for days inside, 0 for others, NaN for those not counted; shape (windows, groups, horizon)."""
    inside = np.full((len(past.windows), *past.windows[0].sales.shape), np.nan)
    for own, window in zip(inside, past.windows, strict=True):
        if window.origin - past.windows[0].origin < HORIZON:
            continue
        usual = past.usual[:, : window.origin]
        lower, upper = Intervals(past, window.origin).around(window.sales, usual)
        actual = past.actual[:, window.origin : window.origin + HORIZON_DAYS]
        days = actual.shape[1]
        held = (lower[:, :days] <= actual) & (actual <= upper[:, :days])
        own[:, :days] = np.where((window.sales[:, :days] > 0) & ~np.isnan(actual), held, np.nan)
    return inside


def _mean(values: Matrix) -> float | None:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else None


def _quantiles(values: Matrix, *at: float) -> Matrix:
    """Of each row, shrunk towards those of all; shape (quantiles, rows)."""
    common = np.nanquantile(values, at)[:, None]
    count = (~np.isnan(values)).sum(axis=1)
    # `np.nanquantile`, written out, since it calls a function for each row: it takes many times as long.
    last = np.maximum(count - 1, 0)
    place = last * np.array(at)[:, None]
    below = place.astype(np.intp)
    low, high = np.empty_like(place), np.empty_like(place)
    for first in range(0, len(values), BLOCK):
        block = slice(first, first + BLOCK)
        ordered = np.sort(values[block], axis=1)  # NaN last
        rows = np.arange(len(ordered))
        low[:, block] = ordered[rows, below[:, block]]
        high[:, block] = ordered[rows, np.minimum(below + 1, last)[:, block]]
    share = place - below
    # As numpy interpolates: from the nearer end.
    own = np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))
    own = np.where(count > 0, own, common)
    return (count * own + _SHRINKAGE * common) / (count + _SHRINKAGE)


def _shrunk(scores: Matrix, towards: float) -> float:
    """The factor at which intervals hold the nominal share of these scores."""
    counted = scores[~np.isnan(scores)]
    if len(counted) == 0:
        return towards
    return (len(counted) * np.quantile(counted, NOMINAL) + _SHRINKAGE * towards) / (len(counted) + _SHRINKAGE)


def _widened(errors: Matrix, horizon: Numbers, windows: float) -> float:
    """How much wider intervals have to be because errors common to all groups are seen in few windows.

    The quantile of a mean of so many normal values is that of Student's t, about 1 + (z^2 + 1) / 4n times the
    normal one (Cornish & Fisher 1937, https://doi.org/10.2307/1400905). It holds for the common part alone.

    Errors are in units of the interval, of one window after the other; `windows` do not overlap.
    """
    parts = np.split(errors, np.flatnonzero(horizon == 0)[1:], axis=1)
    common = [np.nanmean(part) for part in parts if part.shape[1] >= _WHOLE and not np.isnan(part).all()]
    if not common:
        return 1.0
    share = min(float(np.mean(np.square(common)) / np.nanmean(errors**2)), 1.0)
    few = 1 + 0.66 / windows  # z of NOMINAL
    return float(np.sqrt(share * few**2 + 1 - share))


def _thirds(sales: Matrix) -> Numbers:
    """0, 1 or 2 for small, middle and large series."""
    size = np.nan_to_num(sales).mean(axis=1)
    return np.digitize(size, np.quantile(size, [1 / 3, 2 / 3]))


def _new(usual: Matrix) -> Mask:
    return (~np.isnan(usual)).sum(axis=1) < _NEW_DAYS


def _deviation(sales: Matrix, usual: Matrix) -> Matrix:
    """Standard deviation expected of forecasts; NaN where nothing is expected."""
    recent = usual[:, -_DISPERSION_DAYS:]
    days = (~np.isnan(recent)).sum(axis=1)
    total = np.nansum(recent, axis=1)
    mean = total / np.maximum(days, 1)
    spread = np.nansum((recent - mean[:, None]) ** 2, axis=1)
    own = np.divide(spread, total, out=np.full(len(total), np.nan), where=spread > 0)
    typical = np.nanmedian(own) if (spread > 0).any() else 1.0
    weighted = days * np.nan_to_num(own, nan=typical) + _DISPERSION_SHRINKAGE * typical
    phi = weighted / (days + _DISPERSION_SHRINKAGE)
    return np.sqrt(phi[:, None] * np.where(sales > 0, sales, np.nan))
