"""The choice of a forecaster, with a margin, and of the combination's weights: by windows that are over."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from services.contracts.model import HORIZON_DAYS
from services.forecasting import backtest, choice
from services.forecasting.backtest import Errors, Window
from services.forecasting.models import CANDIDATES
from services.forecasting.panel import Panel

DAYS = 200
PANEL = Panel(datetime.date(2022, 1, 3), ("1", "1"), ("A", "B"), np.full((2, DAYS), 10.0), None)


def window(origin: int, *errors: float) -> Window:
    """A forecast that is off by so much for each series."""
    return Window(origin, np.repeat(10.0 + np.array(errors)[:, None], HORIZON_DAYS, axis=1))


def errors(windows: Mapping[str, Sequence[Window]], panel: Panel = PANEL) -> Errors:
    return {name: backtest.errors(own, panel) for name, own in windows.items()}


@pytest.mark.parametrize(("error", "chosen"), [(0.5, 1), (-0.79, 1), (0.81, 0), (1.5, 0)])
def test_another_has_to_be_better_by_the_margin(error: float, chosen: int) -> None:
    windows = {"first": [window(100, 1, 1)], "second": [window(100, error, 2)]}
    assert choice.choose(errors(windows)).tolist() == [chosen, 0]


@pytest.mark.parametrize(("error", "chosen"), [(0.97, 1), (0.99, 0)])
def test_the_default_is_best_on_all_sales_together(error: float, chosen: int) -> None:
    """One series alone, 3 % better, would be little evidence."""
    windows = {"first": [window(100, 1, 1)], "second": [window(100, error, error)]}
    assert choice.choose(errors(windows)).tolist() == [chosen, chosen]
    windows = {"first": [window(100, 1, 1)], "second": [window(100, error, 1.1)]}
    assert choice.choose(errors(windows)).tolist() == [0, 0]


def test_a_part_of_the_combination_is_no_other_default() -> None:
    """Weights that change with what is known make the combination no better than hindsight; its own may."""
    best = {"combination": [window(100, 1, 1)], "theta": [window(100, 0.9, 0.9)]}
    assert choice.choose(errors(best)).tolist() == [0, 0]
    best["croston"] = best["theta"]
    assert choice.choose(errors(best)).tolist() == [2, 2]


def test_only_windows_that_are_over_count() -> None:
    windows = {
        "first": [window(100, 1, 1), window(114, 0, 0)],
        "second": [window(100, 0, 0), window(114, 9, 9)],
    }
    assert [choice.choose(errors(windows), over).tolist() for over in range(3)] == [[0, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize(("origin", "later"), [(127, [12, 12]), (128, [13, 12])])
def test_windows_are_served_by_who_was_chosen_then(origin: int, later: list[int]) -> None:
    windows = {
        "first": [window(100, 1, 1), window(origin, 2, 2)],
        "second": [window(100, 0, 5), window(origin, 3, 3)],
    }
    served = choice.served(windows, errors(windows))
    assert [each.origin for each in served] == [100, origin]
    assert [each.sales[:, 0].tolist() for each in served] == [[11, 11], later]


def test_what_comes_after_an_origin_never_changes_the_choice_made_there(panel: Panel) -> None:
    classical = {name: CANDIDATES[name] for name in ("theta", "exponential_smoothing", "croston")}

    def served(panel: Panel) -> list[Window]:
        origins = backtest.origins(panel)
        windows = {
            name: [
                Window(origin, each.sales)
                for origin, each in zip(origins, backtest.run(make, panel, origins), strict=True)
            ]
            for name, make in classical.items()
        }
        return choice.served(windows, errors(windows, panel))

    windows = served(panel)
    origin = windows[2].origin
    sales = panel.sales.copy()
    sales[:, origin:] = 1000 * np.random.default_rng(6).random(sales[:, origin:].shape)
    poisoned = served(replace(panel, sales=sales))
    for before, after in zip(windows[:3], poisoned[:3], strict=True):
        np.testing.assert_array_equal(before.sales, after.sales)
    assert not np.array_equal(windows[3].sales, poisoned[3].sales)


# --- weights of the combination -----------------------------------------------------------


def of_parts(*, trees: float, theta: float, smoothing: float, origin: int = 150) -> dict[str, list[Window]]:
    """Forecasts that are off by so much, of both series, from an origin and from the end."""
    return {
        part: [
            Window(known, np.full((2, HORIZON_DAYS), 10.0 + error if known == origin else 10.0 * place))
            for known in (origin, DAYS)
        ]
        for place, (part, error) in enumerate(
            zip(choice.PARTS, (trees, theta, smoothing), strict=True), start=1
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
    own = of_parts(trees=trees, theta=theta, smoothing=smoothing)
    found, now = choice.weighted(own, PANEL, PANEL)
    assert now == weights
    first = np.dot(choice.USUAL, [10 + trees, 10 + theta, 10 + smoothing])
    assert [each.origin for each in found] == [150, DAYS]
    np.testing.assert_allclose(found[0].sales, first)  # nothing was over then
    np.testing.assert_allclose(found[1].sales, np.dot(weights, [10, 20, 30]))


@pytest.mark.parametrize(("origin", "over"), [(128, True), (127, False)])
def test_only_windows_that_are_over_count_for_weights(origin: int, over: bool) -> None:
    first = of_parts(trees=9, theta=9, smoothing=0, origin=100)
    second = of_parts(trees=1, theta=2, smoothing=3, origin=origin)
    own = {part: [first[part][0], *second[part]] for part in choice.PARTS}
    found, _ = choice.weighted(own, PANEL, PANEL)
    weights = (0, 0, 1) if over else choice.USUAL
    np.testing.assert_allclose(found[1].sales, np.dot(weights, [11, 12, 13]))


def test_classical_methods_count_less_where_days_with_sales_are_few() -> None:
    sales = np.array([np.full(DAYS, 10.0), np.where(np.arange(DAYS) % 10 == 0, 10.0, 0.0)])
    parts = [np.full((2, 1), value) for value in (0.0, 30.0, 30.0)]
    known = Panel(PANEL.first_date, ("1", "1"), ("A", "B"), sales, None)
    assert choice.combined(parts, known, (0, 0.5, 0.5)).ravel() == pytest.approx([30, 10])
