"""Choice of a forecaster for each series: the one with the least error in windows that are over."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.forecasting.backtest import HORIZON, Window
from services.forecasting.baselines import croston, exponential_smoothing, theta
from services.forecasting.models import combination
from services.forecasting.panel import Forecaster, Panel

CANDIDATES: dict[str, Forecaster] = {
    "combination": combination,
    "theta": theta,
    "exponential_smoothing": exponential_smoothing,
    "croston": croston,
}
"""The first serves a series unless another did better. All forecast a mean: a forecaster of medians would win
by the absolute error where a series seldom sells, with a forecast of 0."""

# By how much another's error must be less than the first one's: a few windows of one series are little
# evidence. On the default data, choosing without a margin was worse than not choosing.
_MARGIN = 0.2


def choose(windows: Mapping[str, Sequence[Window]], panel: Panel, known: int) -> NDArray[np.intp]:
    """Choose a candidate for each series.

    Args:
        windows: of each candidate, by name, from the same origins.
        panel: with the actual sales.
        known: number of days known; windows that reach beyond are ignored.

    Returns:
        Positions in `windows`, shape (series,): the candidate with the least sum of absolute errors if it is
        less than the first one's by _MARGIN, otherwise the first.
    """
    errors = np.array([_errors(own, panel, known) for own in windows.values()])
    errors[0] *= 1 - _MARGIN
    return errors.argmin(axis=0)


def served(windows: Mapping[str, Sequence[Window]], panel: Panel) -> list[Window]:
    """The windows as served: at each origin, each series by the candidate chosen with what was known then."""
    return [
        Window(
            same_origin[0].origin,
            pick([window.sales for window in same_origin], choose(windows, panel, same_origin[0].origin)),
        )
        for same_origin in zip(*windows.values(), strict=True)
    ]


def pick(forecasts: Sequence[NDArray[np.float64]], chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    """The rows of the candidates chosen, shape (series, days)."""
    return np.stack(forecasts)[chosen, np.arange(len(chosen))]


def _errors(windows: Sequence[Window], panel: Panel, known: int) -> NDArray[np.float64]:
    """Sum of absolute errors of each series over the windows that are over."""
    total = np.zeros(len(panel.family))
    for window in windows:
        end = window.origin + HORIZON
        if end <= known:
            error = panel.sales[:, window.origin : end] - window.sales[:, :HORIZON]
            total += np.nansum(np.abs(error), axis=1)
    return total
