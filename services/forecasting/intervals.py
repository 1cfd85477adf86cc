"""Prediction intervals from the errors a model made in its backtest.

An error is measured in the standard deviation that a forecast y would have if its variance grew with it,
sqrt(phi * y), where phi is the series' own dispersion, known at the origin. The quantiles of those ratios
over all series and windows, for near and far days, give the interval: conformal in spirit
(Vovk et al., https://doi.org/10.1007/b106715), with weights of one.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.forecasting.backtest import Window
from services.forecasting.panel import Panel

NOMINAL = 0.8
"""Share of days whose sales should fall into their interval."""
_DISPERSION_DAYS = 364
# Days for which a series' own dispersion has to speak before it outweighs that of all series.
_SHRINKAGE_DAYS = 28


class Intervals:
    """Interval ends as multiples of the standard deviation expected of a forecast."""

    def __init__(self, windows: Sequence[Window], panel: Panel):
        """Take the quantiles of the windows' errors."""
        ratios: list[NDArray[np.float64]] = []
        for window in windows:
            actual = panel.sales[:, window.origin : window.origin + window.sales.shape[1]]
            counted = ~np.isnan(actual) & (window.sales > 0)
            deviation = _deviation(window.sales, panel.until(window.origin))
            ratios.append((actual - window.sales)[counted] / deviation[counted])
        tail = (1 - NOMINAL) / 2
        self._lower, self._upper = np.quantile(np.concatenate(ratios), [tail, 1 - tail])

    def around(
        self, sales: NDArray[np.float64], panel: Panel
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper end around a forecast made at the panel's end; 0 <= lower <= sales <= upper."""
        deviation = _deviation(sales, panel)
        lower = np.clip(sales + self._lower * deviation, 0, sales)
        return lower, np.maximum(sales + self._upper * deviation, sales)


def coverage(windows: Sequence[Window], panel: Panel) -> float:
    """Share of days on which actual sales fell into an interval made of earlier windows alone.

    Days forecast as closed are not counted, since they would flatter.

    Args:
        windows: of which one at least ended before another began.
        panel: with the actual sales.
    """
    inside: list[NDArray[np.bool_]] = []
    for window in windows:
        horizon = window.sales.shape[1]
        earlier = [other for other in windows if other.origin + horizon <= window.origin]
        if not earlier:
            continue
        actual = panel.sales[:, window.origin : window.origin + horizon]
        lower, upper = Intervals(earlier, panel).around(window.sales, panel.until(window.origin))
        counted = ~np.isnan(actual) & (window.sales > 0)
        inside.append(((lower <= actual) & (actual <= upper))[counted])
    return float(np.concatenate(inside).mean())


def _deviation(sales: NDArray[np.float64], panel: Panel) -> NDArray[np.float64]:
    recent = panel.sales[:, -_DISPERSION_DAYS:]
    days = (~np.isnan(recent)).sum(axis=1)
    total = np.nansum(recent, axis=1)
    mean = total / np.maximum(days, 1)
    spread = np.nansum((recent - mean[:, None]) ** 2, axis=1)
    typical = max(spread.sum(), 1.0) / max(total.sum(), 1.0)
    weight = _SHRINKAGE_DAYS * mean.mean()
    phi = (spread + weight * typical) / (total + weight)
    return np.sqrt(phi[:, None] * sales)
