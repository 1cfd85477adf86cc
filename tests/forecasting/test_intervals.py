"""Intervals hold their share of the days: for series and sums, all sizes and horizons, and new series."""

import datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from services.contracts.model import HORIZON_DAYS, LEVELS
from services.forecasting import intervals
from services.forecasting.backtest import Window
from services.forecasting.intervals import NOMINAL, Intervals, Past
from services.forecasting.panel import Panel
from tests.forecasting.test_models import changed_from

DAYS = 400
ORIGINS = range(DAYS - 28 - 7 * 14, DAYS - 27, 14)
SIZES = np.repeat([3.0, 30.0, 300.0], 10)


def panel_of(sales: NDArray[np.float64]) -> Panel:
    count = len(sales)
    stores, families = tuple(f"{i // 10}" for i in range(count)), tuple(f"{i:03}" for i in range(count))
    return Panel(datetime.date(2022, 1, 3), stores, families, sales, None)


def windows_of(forecast: NDArray[np.float64]) -> list[Window]:
    return [Window(origin, np.repeat(forecast[:, None], HORIZON_DAYS, axis=1)) for origin in ORIGINS]


def test_coverage_holds_by_size_horizon_and_level() -> None:
    """Though errors of large series, of stores and of far days are far larger than sqrt(sales)."""
    random = np.random.default_rng(2)
    drift = np.cumsum(random.normal(0, 0.02, DAYS))
    sales = SIZES[:, None] * np.exp(drift) * random.gamma(4, 1 / 4, (30, DAYS))
    panel = panel_of(sales)
    windows = [
        Window(origin, np.repeat((SIZES * np.exp(drift[origin - 1]))[:, None], HORIZON_DAYS, axis=1))
        for origin in ORIGINS
    ]
    held = intervals.coverage(windows, panel, panel)
    assert list(held.levels) == list(LEVELS)
    for shares in (held.thirds, held.horizons):
        assert list(shares.values()) == pytest.approx([NOMINAL] * 3, abs=0.08)
    assert held.levels["series"] == pytest.approx(NOMINAL, abs=0.05)
    assert held.levels["store_nbr"] == pytest.approx(NOMINAL, abs=0.15)


def test_series_that_sell_daily_keep_their_share_among_those_that_seldom_do() -> None:
    """Among many that hardly ever sell, whose errors have another shape, the largest held 70 %."""
    random = np.random.default_rng(7)
    rate = np.repeat([0.05, 0.1, 3.0], 40)
    panel = panel_of(random.poisson(rate[:, None], (120, DAYS)).astype(float))
    thirds = intervals.coverage(windows_of(rate), panel, panel).thirds
    assert thirds["large"] == pytest.approx(NOMINAL, abs=0.06)


def test_sums_hold_their_share_though_few_windows_tell() -> None:
    """A fifth of the variance of their errors is common to a window; 75.7 % were inside."""
    random = np.random.default_rng(8)
    inside: list[float] = []
    for _ in range(150):
        level = np.repeat(random.normal(0, 0.05, DAYS // 14 + 1), 14)[-DAYS:]
        panel = panel_of(np.maximum(1000 * (1 + level + random.normal(0, 0.1, DAYS)), 0)[None, :])
        windows = windows_of(np.array([1000.0]))[-5:]
        inside.append(intervals.coverage(windows, panel, panel).levels["total"] or 0)
    assert np.mean(inside) == pytest.approx(NOMINAL, abs=0.025)


def test_a_series_with_larger_errors_has_wider_intervals() -> None:
    """Of the same size and dispersion so far, but never forecast well."""
    random = np.random.default_rng(3)
    panel = panel_of(random.poisson(30.0, (10, DAYS)).astype(float))
    forecast = np.full(10, 30.0)
    forecast[0] = 60.0
    lower, upper = Intervals(Past.of(windows_of(forecast), panel, panel, "series"), DAYS).around(
        np.full((10, HORIZON_DAYS), 30.0), panel.sales
    )
    width = (upper - lower).mean(axis=1)
    assert width[0] > 1.5 * width[1:].mean()
    assert width[1:].max() < 1.5 * width[1:].min()


def test_a_new_series_has_wider_intervals() -> None:
    sales = np.random.default_rng(4).poisson(30.0, (10, DAYS)).astype(float)
    sales[0, :-14] = np.nan
    panel = panel_of(sales)
    lower, upper = Intervals(Past.of(windows_of(np.full(10, 30.0)), panel, panel, "series"), DAYS).around(
        np.full((10, HORIZON_DAYS), 30.0), panel.sales
    )
    width = (upper - lower).mean(axis=1)
    assert width[0] > 1.3 * width[1:].mean()


def test_one_huge_series_does_not_widen_the_others() -> None:
    random = np.random.default_rng(5)
    sales = random.poisson(30.0, (10, DAYS)).astype(float)
    huge = sales.copy()
    huge[0] = random.gamma(1, 1e6, DAYS)
    widths: list[float] = []
    for each in (sales, huge):
        panel = panel_of(each)
        past = Past.of(windows_of(each.mean(axis=1)), panel, panel, "series")
        lower, upper = Intervals(past, DAYS).around(past.windows[0].sales, panel.sales)
        widths.append(float((upper - lower)[1:].mean()))
    assert widths[1] == pytest.approx(widths[0], rel=0.2)


def test_only_errors_known_by_then_count(panel: Panel) -> None:
    """Other sales from a day on change what is covered there, and the intervals made before not at all."""
    windows = [
        Window(origin, np.repeat(np.nanmean(panel.sales[:, :origin], axis=1)[:, None], HORIZON_DAYS, axis=1))
        for origin in (106, 120, 134, 148, 162)
    ]
    far_off = changed_from(panel, 162)
    assert (intervals.coverage(windows, far_off, far_off).levels["series"] or 1) < (
        intervals.coverage(windows, panel, panel).levels["series"] or 0
    )
    ends = [
        Intervals(Past.of(windows, each, each, "series"), 162).around(
            windows[-1].sales, panel.until(162).sales
        )
        for each in (panel, far_off)
    ]
    np.testing.assert_array_equal(ends[0], ends[1])
