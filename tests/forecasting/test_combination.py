"""The combination: weights of what erred least in windows that are over."""

import datetime

import numpy as np
import pytest

from services.contracts.model import HORIZON_DAYS
from services.forecasting import combination
from services.forecasting.backtest import Window
from services.forecasting.panel import Panel

DAYS = 200
PANEL = Panel(datetime.date(2022, 1, 3), ("1", "1"), ("A", "B"), np.full((2, DAYS), 10.0), None)


def windows(*, trees: float, theta: float, smoothing: float, origin: int = 150) -> dict[str, list[Window]]:
    """Forecasts that are off by so much, of both series, from an origin and from the end."""
    return {
        part: [
            Window(known, np.full((2, HORIZON_DAYS), 10.0 + error if known == origin else 10.0 * place))
            for known in (origin, DAYS)
        ]
        for place, (part, error) in enumerate(
            zip(combination.PARTS, (trees, theta, smoothing), strict=True), start=1
        )
    }


@pytest.mark.parametrize(
    ("errors", "weights"),
    [
        ((0, 4, 4), (1, 0, 0)),
        ((4, 0, 4), (0, 1, 0)),
        ((4, 4, 0), (0, 0, 1)),
        ((1, -3, 8), (0.75, 0.25, 0)),
        ((-1, -4, 3), (0.75, 0, 0.25)),
    ],
)
def test_the_weights_are_those_that_erred_least(
    errors: tuple[float, float, float], weights: tuple[float, float, float]
) -> None:
    trees, theta, smoothing = errors
    own = windows(trees=trees, theta=theta, smoothing=smoothing)
    found, now = combination.weighted(own, PANEL, PANEL)
    assert now == weights
    first = np.dot(combination.USUAL, [10 + trees, 10 + theta, 10 + smoothing])
    assert [each.origin for each in found] == [150, DAYS]
    np.testing.assert_allclose(found[0].sales, first)  # nothing was over then
    np.testing.assert_allclose(found[1].sales, np.dot(weights, [10, 20, 30]))


@pytest.mark.parametrize(("origin", "over"), [(128, True), (127, False)])
def test_only_windows_that_are_over_count(origin: int, over: bool) -> None:
    first = windows(trees=9, theta=9, smoothing=0, origin=100)
    second = windows(trees=1, theta=2, smoothing=3, origin=origin)
    own = {part: [first[part][0], *second[part]] for part in combination.PARTS}
    found, _ = combination.weighted(own, PANEL, PANEL)
    weights = (0, 0, 1) if over else combination.USUAL
    np.testing.assert_allclose(found[1].sales, np.dot(weights, [11, 12, 13]))


def test_classical_methods_count_less_where_days_with_sales_are_few() -> None:
    sales = np.array([np.full(DAYS, 10.0), np.where(np.arange(DAYS) % 10 == 0, 10.0, 0.0)])
    parts = [np.full((2, 1), value) for value in (0.0, 30.0, 30.0)]
    known = Panel(PANEL.first_date, ("1", "1"), ("A", "B"), sales, None)
    assert combination.combined(parts, known, (0, 0.5, 0.5)).ravel() == pytest.approx([30, 10])
