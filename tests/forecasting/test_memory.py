"""Memory grows with the sales, not with what is made of them: that is made of a few series at a time."""

import datetime
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from services.answers import Replies
from services.batch.scoring import ScoreLines
from services.forecasting import backtest, baselines
from services.forecasting.backtest import Window
from services.forecasting.features import Features
from services.forecasting.forecast import Forecast
from services.forecasting.panel import Panel

DAYS = 400
HORIZON = 60


def peak(work: Callable[[], object]) -> int:
    """Most bytes that were allocated at a time beyond those of before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def many(series: int) -> Panel:
    sales = np.random.default_rng(1).poisson(3.0, (series, DAYS)).astype(float)
    keys = [(f"S{number // 300:02d}", f"P{number % 300:03d}") for number in range(series)]
    stores, families = zip(*keys, strict=True)
    return Panel(datetime.date(2023, 1, 1), stores, families, sales, None)


def features(panel: Panel) -> None:
    known = Features(panel, HORIZON)
    series = np.arange(len(panel.family))
    known.rows(series, np.full_like(series, panel.days), np.full_like(series, panel.days))


def theta(panel: Panel) -> None:
    baselines.theta(panel, HORIZON)


def scores(panel: Panel) -> None:
    origin = DAYS - backtest.HORIZON
    errors = backtest.errors([Window(origin, panel.sales[:, :HORIZON])], panel)
    backtest.scores({"": errors}, panel, [origin])


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(features, id="features"),
        pytest.param(theta, id="theta"),
        pytest.param(scores, id="scores"),
    ],
)
def test_training_takes_less_than_its_sales_once_more(work: Callable[[Panel], object]) -> None:
    small, large = many(1500), many(4500)
    work(small)  # what it keeps for good, such as the public holidays, is no part of the growth
    growth = peak(lambda: work(large)) - peak(lambda: work(small))
    assert growth < 1.0 * (large.sales.nbytes - small.sales.nbytes)


@pytest.fixture(scope="module")
def forecast() -> Forecast:
    panel = many(3000)
    sales = panel.sales[:, :HORIZON].copy()
    dates = tuple(panel.date(DAYS + day) for day in range(HORIZON))
    return Forecast("v", dates, panel.store_nbr, panel.family, sales, sales / 2, sales * 2)


def test_a_version_takes_hardly_more_than_its_table_until_it_is_asked(forecast: Forecast) -> None:
    """During a reload there are two: rows in JSON have ten times the bytes of the table."""
    table = 3 * forecast.sales.nbytes
    assert peak(lambda: Replies(forecast, HORIZON)) < 0.5 * table
    assert peak(lambda: ScoreLines(forecast)) < 0.5 * table
