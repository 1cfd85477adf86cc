"""The choice of a forecaster: by windows that are over, and with a margin."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from services.contracts.model import HORIZON_DAYS
from services.forecasting import backtest, choice
from services.forecasting.backtest import Errors, Window
from services.forecasting.choice import CANDIDATES
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
