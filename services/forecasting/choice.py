"""Choice of a forecaster for each series: the one with the least error in windows that are over."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.contracts.model import LEVELS
from services.forecasting.backtest import HORIZON, Window
from services.forecasting.baselines import croston, exponential_smoothing, theta
from services.forecasting.levels import groups, summed
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

PLANNED = "planned"
"""A further candidate for sales with promotions planned. It comes first where it did better on them all."""

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
    own, first = errors(windows, panel, known), default(windows, panel, known)
    own[first] *= 1 - _MARGIN
    # Of equals the first, which is such where no window is over.
    order = np.roll(np.arange(len(own)), -first)
    return order[own[order].argmin(axis=0)]


def errors(windows: Mapping[str, Sequence[Window]], panel: Panel, known: int) -> NDArray[np.float64]:
    """Sums of absolute errors over the windows that are over, shape (candidates, series)."""
    return np.array([_errors(own, panel, known, "series") for own in windows.values()])


def default(windows: Mapping[str, Sequence[Window]], panel: Panel, known: int) -> int:
    """Position of the candidate that serves a series unless another did better.

    The first one, or that which knows the plan if it had the lesser error, on average of the levels.
    """
    if PLANNED not in windows:
        return 0
    pair = next(iter(windows.values())), windows[PLANNED]
    total = np.array([[_errors(own, panel, known, level).sum() for own in pair] for level in LEVELS])
    helps = total.any() and np.mean(total[:, 1] / np.maximum(total[:, 0], 1e-9)) < 1
    return list(windows).index(PLANNED) if helps else 0


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


def _errors(windows: Sequence[Window], panel: Panel, known: int, level: str) -> NDArray[np.float64]:
    """Sum of absolute errors of each group of a level over the windows that are over."""
    members = groups(panel, level)
    total = np.zeros(members.max() + 1)
    for window in windows:
        end = window.origin + HORIZON
        if end <= known:
            error = panel.sales[:, window.origin : end] - window.sales[:, :HORIZON]
            total += np.nansum(np.abs(summed(error, members)), axis=1)
    return total
