"""Classical methods: published figures, formulas written out, and series that are hardly any."""

import datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from services.forecasting import baselines
from services.forecasting.baselines import croston, exponential_smoothing, seasonal_naive, theta
from services.forecasting.models import CANDIDATES
from services.forecasting.panel import Forecaster, Panel

MONDAY = datetime.date(2022, 1, 3)


def panel_of(*series: NDArray[np.float64] | list[float]) -> Panel:
    """These series in one store, and a last one that sells every day, so that no day is closed."""
    rows = [*series, np.ones(len(series[0]))]
    names = tuple(f"F{row:02}" for row in range(len(rows)))
    return Panel(MONDAY, ("1",) * len(rows), names, np.array(rows, dtype=np.float64), None)


def test_seasonal_naive_repeats_the_last_week(panel: Panel) -> None:
    forecast = seasonal_naive(panel, 20).sales
    for day in range(20):
        np.testing.assert_array_equal(forecast[:, day], panel.sales[:, panel.days - 7 + day % 7])


def test_croston_as_another_implementation() -> None:
    """The figure is that of statsforecast 2.1.1, CrostonSBA."""
    demand = [
        0,
        2,
        0,
        1,
        0,
        11,
        0,
        0,
        0,
        0,
        2,
        0,
        6,
        3,
        0,
        0,
        0,
        0,
        0,
        7,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        3,
        1,
        0,
        0,
        1,
        0,
        1,
    ]
    panel = panel_of([*map(float, demand), 0.0, 0.0])
    np.testing.assert_allclose(croston(panel, 3).sales[0], 0.9353667, rtol=1e-7)


GROWING = np.round(20 + 0.3 * np.arange(60) + np.random.default_rng(5).normal(0, 3, 60))


@pytest.mark.parametrize(("alpha", "expected"), [(0.2, 38.33680343), (0.3, 39.65405634), (0.5, 40.83511438)])
def test_exponential_smoothing_as_another_implementation(
    monkeypatch: pytest.MonkeyPatch, alpha: float, expected: float
) -> None:
    """Without a season; the figures are those of statsforecast 2.1.1, SimpleExponentialSmoothing."""
    monkeypatch.setattr(baselines, "_LEVEL_ALPHAS", (alpha,))
    monkeypatch.setattr(baselines, "_SEASON_GAMMAS", (0.0,))
    panel = panel_of(GROWING)
    forecast = exponential_smoothing(panel, 10).sales[0]
    np.testing.assert_allclose(forecast, expected, rtol=1e-5)  # begins elsewhere, 60 days before


def test_theta_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smoothed level, and a drift of half the slope with the correction of Hyndman & Billah, eq. 11."""
    alpha = 0.2
    monkeypatch.setattr(baselines, "_LEVEL_ALPHAS", (alpha,))
    sales = np.repeat(GROWING, 7)  # every weekday has the same mean
    level = sales[:28].mean()
    for value in sales:
        level += alpha * (value - level)
    slope = np.polyfit(np.arange(len(sales)), sales, 1)[0]
    ahead = np.arange(30) + (1 - (1 - alpha) ** len(sales)) / alpha
    panel = panel_of(sales)
    np.testing.assert_allclose(theta(panel, 30).sales[0], level + slope / 2 * ahead)


@pytest.mark.parametrize("method", [exponential_smoothing, theta])
def test_a_weekly_season_is_learned(method: Forecaster) -> None:
    week = np.array([10.0, 20, 30, 40, 50, 60, 70])
    panel = panel_of(np.tile(week, 30))
    forecast = method(panel, 14).sales[0]
    np.testing.assert_allclose(forecast, np.tile(week, 2), rtol=0.02)


@pytest.mark.parametrize("method", [exponential_smoothing, theta, croston])
def test_closed_days_are_neither_learned_from_nor_sold_on(
    method: Forecaster,
) -> None:
    """Ten a day but on Sundays is ten a day, not less."""
    sales = np.tile([10.0] * 6 + [0.0], 30)
    panel = Panel(MONDAY, ("1",), ("F",), sales[None], None)
    forecast = method(panel, 14).sales[0]
    shrunk = 0.95 if method is croston else 1.0
    np.testing.assert_allclose(forecast, np.tile([10.0 * shrunk] * 6 + [0.0], 2))


@pytest.mark.parametrize("name", [*CANDIDATES, "seasonal_naive"])
def test_series_that_are_hardly_any(name: str) -> None:
    """Nothing sold, one sale, begun three days ago, begun today: finite, and nothing comes of nothing."""
    random = np.random.default_rng(4)
    days = 150
    usual = random.poisson(6, (3, days)).astype(np.float64)
    zero, single, short, new = np.zeros((4, days))
    single[60] = 5
    short[:-3], short[-3:] = np.nan, 4
    new[:-1], new[-1] = np.nan, 2
    panel = panel_of(*usual, zero, single, short, new)
    forecast = {**CANDIDATES, "seasonal_naive": seasonal_naive}[name](panel, 60).sales
    assert forecast.shape == (8, 60)
    assert np.isfinite(forecast).all()
    assert (forecast >= 0).all()
    assert forecast[3].max() < 0.5
    assert forecast[4].max() < 1
    assert forecast[5].max() < 10
