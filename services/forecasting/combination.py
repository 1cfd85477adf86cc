"""The combination of forecasters: a mean of gradient boosting, Theta and exponential smoothing.

Where one errs, another one often does not. Trees know most of long sales with seasons of the year, and the
classical methods of short ones: the weights are those of a coarse grid that erred least in the backtest.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from services.contracts.model import LEVELS
from services.forecasting.backtest import HORIZON, Window
from services.forecasting.panel import Matrix, Panel, summed

NAME = "combination"
PARTS = ("gradient_boosting", "theta", "exponential_smoothing")

Weights = tuple[float, ...]
"""Of PARTS; they add up to 1."""

USUAL: Weights = (0.5, 0.25, 0.25)
"""As long as no window is over."""
_GRID: list[Weights] = [
    (1 - (theta + smoothing) / 4, theta / 4, smoothing / 4)
    for theta, smoothing in itertools.product(range(5), repeat=2)
    if theta + smoothing <= 4
]
# Share of days with sales from which on the classical methods have their whole weight: of a series that sells
# on fewer they take single sales for a trend.
_OFTEN = 0.3


def combined(parts: Sequence[Matrix], known: Panel, weights: Weights) -> Matrix:
    """The mean of forecasts that were made at the end of `known`, shape (series, days)."""
    trees, *steps = _steps(parts, known)
    return trees + sum(weight * step for weight, step in zip(weights[1:], steps, strict=True))


def weighted(
    windows: Mapping[str, Sequence[Window]], actual: Panel, usual: Panel
) -> tuple[list[Window], Weights]:
    """The combination from each origin with the weights of what was known then, and those of now.

    Args:
        windows: of PARTS at least; the last one begins at the panel's end.
        actual: what was sold.
        usual: the same without bulk orders.
    """
    each = [
        ([window.sales for window in same], usual.until(same[0].origin), same[0].origin)
        for same in zip(*(windows[part] for part in PARTS), strict=True)
    ]
    errors = [_errors(parts, known, actual) for parts, known, _ in each[:-1]]
    result: list[Window] = []
    weights = USUAL
    for parts, known, origin in each:
        over = [
            own for own, (_, _, earlier) in zip(errors, each, strict=False) if earlier + HORIZON <= origin
        ]
        if over:
            total = np.sum(over, axis=0)
            weights = _GRID[np.log(np.maximum(total, 1e-9)).sum(axis=1).argmin()]
        result.append(Window(origin, combined(parts, known, weights)))
    return result, weights


def _steps(parts: Sequence[Matrix], known: Panel) -> list[Matrix]:
    """The trees' forecast, and what the whole weight of each other part would add to it."""
    sold, days = known.sold_days()
    often = np.minimum(sold / np.maximum(days, 1) / _OFTEN, 1)[:, None]
    trees, *others = parts
    return [trees, *(often * (other - trees) for other in others)]


def _errors(parts: Sequence[Matrix], known: Panel, actual: Panel) -> Matrix:
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
