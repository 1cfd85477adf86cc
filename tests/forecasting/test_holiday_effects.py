"""Public holidays on which stores stay open: their sales are seen, if the backtest says that it helps."""

import datetime

import holidays
import numpy as np
import pytest

from services.forecasting import training
from services.forecasting.baselines import theta
from services.forecasting.holiday_effects import HolidayEffects
from services.forecasting.panel import Panel

FIRST = datetime.date(2021, 1, 4)
LAST = datetime.date(2023, 5, 7)
ASCENSION, WHIT_MONDAY = datetime.date(2023, 5, 18), datetime.date(2023, 5, 29)


def open_on_holidays(*factors: float, eve: float = 1, country: str = "DE") -> Panel:
    """Stores that sell so many times the usual on public holidays, and on the days before."""
    days = (LAST - FIRST).days + 1
    week = 1 + 0.3 * np.sin(np.arange(days) % 7)
    usual = np.tile(60 * week, (len(factors), 1))
    for date in holidays.country_holidays(country, years=(2021, 2022, 2023)):
        if FIRST < date <= LAST:
            usual[:, (date - FIRST).days] *= factors
            usual[:, (date - FIRST).days - 1] *= eve
    sales = np.random.default_rng(6).poisson(usual).astype(float)
    stores = tuple(f"{row}" for row in range(len(factors)))
    return Panel(FIRST, stores, ("A",) * len(factors), sales, None)


def forecast(panel: Panel) -> tuple[training.Trained, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """What was trained, and its forecast over that of the days a week before and after."""
    trained = training.fit(panel, {"theta": theta})
    sales = trained.forecast.sales
    usual = (sales[:, :-14] + sales[:, 14:]) / 2
    return trained, sales[:, 7:-7] / usual


def ahead(date: datetime.date) -> int:
    return (date - LAST).days - 1 - 7


def test_a_store_that_sells_twice_as_much_on_public_holidays() -> None:
    trained, ratio = forecast(open_on_holidays(2, 1, 1, 1))
    assert trained.backtest.country == "DE"
    assert trained.backtest.holiday_effects
    for date in (ASCENSION, WHIT_MONDAY):
        assert ratio[0, ahead(date)] == pytest.approx(1.9, abs=0.2)
        assert ratio[1:, ahead(date)] == pytest.approx([1] * 3, abs=0.15)
    others = np.delete(ratio, [ahead(date) - eve for date in (ASCENSION, WHIT_MONDAY) for eve in (0, 1)], 1)
    usual = others[:, np.abs(others - 1).max(axis=0) < 0.3]
    assert usual.shape[1] > 0.8 * others.shape[1]


def test_a_peak_before_public_holidays_on_which_stores_are_closed() -> None:
    trained, ratio = forecast(open_on_holidays(0, 0, eve=2))
    assert trained.backtest.country == "DE"
    assert ratio[:, ahead(ASCENSION)].tolist() == [0, 0]
    assert ratio[:, ahead(ASCENSION) - 1] == pytest.approx([2] * 2, abs=0.3)


def test_holidays_that_are_days_like_others_are_forecast_as_such() -> None:
    trained, ratio = forecast(open_on_holidays(1, 1, 1))
    assert (trained.backtest.country, trained.backtest.holiday_effects) == (None, False)
    assert ratio == pytest.approx(np.ones_like(ratio), abs=0.05)


def test_effects_that_end_do_not_help_and_are_not_used() -> None:
    """Seen in two years, and in none of the windows of the backtest."""
    panel, plain = open_on_holidays(2, 2, 2), open_on_holidays(1, 1, 1)
    panel.sales[:, -160:] = plain.sales[:, -160:]
    trained, ratio = forecast(panel)
    assert trained.backtest.country == "DE"
    assert not trained.backtest.holiday_effects
    assert ratio[:, ahead(ASCENSION)] == pytest.approx([1] * 3, abs=0.1)


def test_large_orders_on_a_holiday_do_not_multiply_the_next_one() -> None:
    """One of 600 each year where 20 on every fifth day is usual: it was forecast at fifty times the usual."""
    panel = open_on_holidays(*[2] * 9, 1)
    panel.sales[9] = np.where(np.arange(panel.days) % 5 == 0, 20, 0)
    for date in (datetime.date(2021, 5, 13), datetime.date(2022, 5, 26)):
        panel.sales[9, (date - FIRST).days] = 600
    effects = HolidayEffects(panel, [])
    assert effects.country == "DE"
    ratio = effects.forecast(np.ones((10, 60)))[:, ahead(ASCENSION) + 7]
    assert ratio[:9].mean() == pytest.approx(2, abs=0.2)
    assert 1 <= ratio[9] < 4
