"""Choice of a forecaster for each series: the one with the least error in windows that are over."""

from collections.abc import Mapping, Sequence

import numpy as np

from services.contracts.model import LEVELS
from services.forecasting.backtest import HORIZON, Errors, Window
from services.forecasting.baselines import croston, exponential_smoothing, theta
from services.forecasting.combination import NAME, PARTS
from services.forecasting.models import combination
from services.forecasting.panel import Forecaster, Matrix, Numbers

CANDIDATES: dict[str, Forecaster] = {
    NAME: combination,
    "theta": theta,
    "exponential_smoothing": exponential_smoothing,
    "croston": croston,
}
"""What they forecast, and the parts of it, are to choose from. All forecast a mean: a forecaster of medians
would win by the absolute error where a series seldom sells, with a forecast of 0."""

PLANNED = "planned"
"""A further candidate, for sales with promotions planned."""

# By how much a candidate's error on all sales must be less than the first one's to be the default.
_DEFAULT_MARGIN = 0.02

# By how much another's error on a series must be less than the default's: a few windows of one are little
# evidence. On the default data, choosing without a margin was worse than not choosing.
_MARGIN = 0.2


def choose(errors: Errors, over: int | None = None) -> Numbers:
    """Choose a candidate for each series.

    Args:
        errors: of each candidate, in windows from the same origins.
        over: number of windows that are over, the first ones; all where it is None.

    Returns:
        Positions in `errors`, shape (series,): the candidate with the least sum of absolute errors if it is
        less than the default's by _MARGIN, otherwise the default.
    """
    own, usual = of_series(errors, over), default(errors, over)
    own[usual] *= 1 - _MARGIN
    # Of equals the default, which is such where no window is over.
    order = np.roll(np.arange(len(own)), -usual)
    return order[own[order].argmin(axis=0)]


def of_series(errors: Errors, over: int | None = None) -> Matrix:
    """Sums of absolute errors over the windows that are over, shape (candidates, series)."""
    return np.array([own["series"].absolute[:over].sum(axis=0) for own in errors.values()])


def default(errors: Errors, over: int | None = None) -> int:
    """Position of the candidate that serves a series unless another did better.

    The first, or the one with the least error, on average of the levels, if that is less by _DEFAULT_MARGIN.
    The parts of the combination are not asked: it is one of them where that did best.
    """
    total = np.array([[own[level].absolute[:over].sum() for level in LEVELS] for own in errors.values()])
    relative = (total / np.maximum(total[0], 1e-9)).mean(axis=1)
    relative[0] -= _DEFAULT_MARGIN
    if NAME in errors:
        relative[[name in PARTS for name in errors]] = np.inf
    return int(relative.argmin())


def served(windows: Mapping[str, Sequence[Window]], errors: Errors) -> list[Window]:
    """The windows as served: at each origin, each series by the candidate chosen with what was known then."""
    result: list[Window] = []
    for same_origin in zip(*windows.values(), strict=True):
        origin = same_origin[0].origin
        over = sum(window.origin + HORIZON <= origin for window in next(iter(windows.values())))
        result.append(Window(origin, pick([each.sales for each in same_origin], choose(errors, over))))
    return result


def pick(forecasts: Sequence[Matrix], chosen: Numbers) -> Matrix:
    """The rows of the candidates chosen, shape (series, days)."""
    return np.stack(forecasts)[chosen, np.arange(len(chosen))]
