"""What the backtest decides: weights of the combination, and the forecaster that serves each series.

The combination is a mean of gradient boosting, Theta and exponential smoothing: where one errs, another one
often does not. Trees know most of long sales with seasons of the year, and the classical methods of short
ones. Weights and forecasters are those that erred least in windows that are over.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from services.contracts.model import LEVELS
from services.forecasting.backtest import HORIZON, Errors, Window
from services.forecasting.panel import Matrix, Numbers, Panel, summed

COMBINATION = "combination"
PARTS = ("gradient_boosting", "theta", "exponential_smoothing")
Weights = tuple[float, ...]  # of PARTS; they add up to 1
USUAL: Weights = (0.5, 0.25, 0.25)  # as long as no window is over
_GRID: list[Weights] = [
    (1 - (theta + smoothing) / 4, theta / 4, smoothing / 4)
    for theta, smoothing in itertools.product(range(5), repeat=2)
    if theta + smoothing <= 4
]
# Share of days with sales from which on the classical methods have their whole weight: of a series that sells
# on fewer they take single sales for a trend.
_OFTEN = 0.3
# By how much a candidate's error on all sales must be less than the first one's to be the default.
_DEFAULT_MARGIN = 0.02
# By how much another's error on a series must be less than the default's: a few windows of one are little
# evidence. On the default data, choosing without a margin was worse than not choosing.
_MARGIN = 0.2


def combined(parts: Sequence[Matrix], known: Panel, weights: Weights) -> Matrix:
    """The mean of forecasts that were made at the end of `known`, shape (series, days)."""
    trees, *steps = _steps(parts, known)
    return trees + sum(weight * step for weight, step in zip(weights[1:], steps, strict=True))


def weighted(
    windows: Mapping[str, Sequence[Window]], actual: Panel, usual: Panel
) -> tuple[list[Window], Weights]:
    """The combination from each origin with the weights of what was known then, and those of now.

    Windows are of PARTS at least, and the last one begins at the panel's end; `usual` has no bulk orders.
    """
    result: list[Window] = []
    errors: list[tuple[int, Matrix]] = []
    weights = USUAL
    for same in zip(*(windows[part] for part in PARTS), strict=True):
        origin, parts = same[0].origin, [window.sales for window in same]
        known = usual.until(origin)
        over = [each for earlier, each in errors if earlier + HORIZON <= origin]
        if over:
            total = np.sum(over, axis=0)
            weights = _GRID[np.log(np.maximum(total, 1e-9)).sum(axis=1).argmin()]
        result.append(Window(origin, combined(parts, known, weights)))
        if origin < usual.days:
            errors.append((origin, _grid_errors(parts, known, actual)))
    return result, weights


def _steps(parts: Sequence[Matrix], known: Panel) -> list[Matrix]:
    """The trees' forecast, and what the whole weight of each other part would add to it."""
    sold, days = known.sold_days()
    often = np.minimum(sold / np.maximum(days, 1) / _OFTEN, 1)[:, None]
    trees, *others = parts
    return [trees, *(often * (other - trees) for other in others)]


def _grid_errors(parts: Sequence[Matrix], known: Panel, actual: Panel) -> Matrix:
    """Sum of absolute errors at each level with each weights of the grid, shape (weights, levels)."""
    sold = actual.sales[:, known.days : known.days + HORIZON]
    trees, *steps = _steps([part[:, :HORIZON] for part in parts], known)
    # What is not known is not an error either.
    terms = [trees - sold, *(np.where(np.isnan(sold), np.nan, step) for step in steps)]
    errors = np.empty((len(_GRID), len(LEVELS)))
    for column, level in enumerate(LEVELS):
        excess, *others = (summed(term, actual.groups(level)) for term in terms)
        for row, (_, *weights) in enumerate(_GRID):
            with_weights = excess + sum(weight * other for weight, other in zip(weights, others, strict=True))
            errors[row, column] = np.nansum(np.abs(with_weights))
    return errors


def choose(errors: Errors, over: int | None = None) -> Numbers:
    """Positions of the candidates that serve the series, shape (series,).

    The one with the least sum of absolute errors if that is less than the default's by _MARGIN, otherwise
    the default. Of the windows, the first `over` are over, or all.
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
    if COMBINATION in errors:
        relative[[name in PARTS for name in errors]] = np.inf
    return int(relative.argmin())


def served(windows: Mapping[str, Sequence[Window]], errors: Errors) -> list[Window]:
    """The windows as served: at each origin, each series by the candidate chosen with what was known then."""
    result: list[Window] = []
    for same in zip(*windows.values(), strict=True):
        origin = same[0].origin
        over = sum(window.origin + HORIZON <= origin for window in result)
        result.append(Window(origin, pick([each.sales for each in same], choose(errors, over))))
    return result


def pick(forecasts: Sequence[Matrix], chosen: Numbers) -> Matrix:
    """The rows of the candidates chosen, shape (series, days)."""
    return np.stack(forecasts)[chosen, np.arange(len(chosen))]
