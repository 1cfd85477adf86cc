"""No series gets an absurd forecast: new, reopened, slow, never sold, a bulk order, beside a huge one."""

import datetime

import holidays
import numpy as np
import pytest
from numpy.typing import NDArray

from services.forecasting import training
from services.forecasting.closed_days import closed_days
from services.forecasting.forecast import Forecast
from services.forecasting.models import combination
from services.forecasting.panel import Panel, UnusableSalesError

DAYS = 420
FIRST = datetime.date(2022, 1, 3)  # a Monday


def chain(**more: NDArray[np.float64]) -> Panel:
    """Two stores with three families of 20, 40 and 60 a day, and stores with one series each, by name."""
    random = np.random.default_rng(1)
    week = 1 + 0.3 * np.sin(np.arange(DAYS) % 7)
    sales = [random.poisson(20 * (1 + row % 3) * week).astype(float) for row in range(6)]
    keys = [(store, family) for store in "12" for family in "ABC"]
    for store, values in sorted(more.items()):
        sales.append(values)
        keys.append((store, "B"))
    stores, families = zip(*keys, strict=True)
    return Panel(FIRST, stores, families, np.array(sales), None)


def steady(days: int = DAYS) -> NDArray[np.float64]:
    return np.random.default_rng(2).poisson(40, days).astype(float)


def slow() -> NDArray[np.float64]:
    return np.where(np.arange(DAYS) % 40 == 0, 10.0, 0.0)


def opened(*, before: float) -> NDArray[np.float64]:
    return np.append(np.full(DAYS - 14, before), steady(14))


@pytest.fixture(scope="module")
def forecast() -> Forecast:
    """Of a chain in which every store has a story."""
    reopened, bulk = steady(), steady()
    reopened[35:-21] = 0
    bulk[-1] = 40_000
    return training.fit(
        chain(
            bulk=bulk,
            never=np.zeros(DAYS),
            opened=opened(before=np.nan),
            opened_after_zeros=opened(before=0),
            reopened=reopened,
            slow=slow(),
        )
    ).forecast


def of(forecast: Forecast, store: str) -> list[NDArray[np.float64]]:
    """Sales, lower and upper end of a store's only series."""
    (row,) = forecast.select(store_nbr=[store]).tolist()
    return [forecast.sales[row], forecast.lower[row], forecast.upper[row]]


@pytest.mark.parametrize("store", ["opened", "opened_after_zeros"])
def test_a_store_that_opened_two_weeks_ago(forecast: Forecast, store: str) -> None:
    """Zeros before the first sale are not history, whether the file has them or not."""
    sales, lower, upper = of(forecast, store)
    assert sales.mean() == pytest.approx(40, rel=0.25)
    assert (lower < 40).mean() > 0.9
    assert (upper > 40).mean() > 0.9


def test_a_store_that_reopened_after_a_year(forecast: Forecast) -> None:
    sales, _, upper = of(forecast, "reopened")
    assert sales.mean() == pytest.approx(40, rel=0.25)
    assert (upper > 0).all()


def test_a_store_with_an_order_of_ten_every_forty_days(forecast: Forecast) -> None:
    sales, _, upper = of(forecast, "slow")
    assert 0.1 < sales.mean() < 0.4
    assert (sales > 0).all()
    assert (upper > 0).all()


def test_a_series_that_never_sold(forecast: Forecast) -> None:
    assert (of(forecast, "never")[2] == 0).all()


def test_one_bulk_order_of_a_thousand_times_the_usual(forecast: Forecast) -> None:
    sales, _, upper = of(forecast, "bulk")
    assert sales.mean() == pytest.approx(41, rel=0.25)
    assert upper.mean() < 3 * 41


def test_one_huge_series_leaves_the_others_alone() -> None:
    panel = chain(huge=steady())
    plain = training.fit(panel).forecast
    panel.sales[-1] *= 1e5
    found = training.fit(panel).forecast
    others = slice(0, -1)
    assert found.sales[others].mean() == pytest.approx(plain.sales[others].mean(), rel=0.05)
    width, wider = ((each.upper - each.lower)[others].mean() for each in (plain, found))
    assert wider == pytest.approx(width, rel=0.25)


def test_days_before_the_first_sale_are_not_enough() -> None:
    panel = chain()
    panel.sales[:, :-100] = 0
    with pytest.raises(UnusableSalesError, match=r"100 days since the first sale .* at least 168 are needed"):
        training.fit(panel)


def test_large_orders_that_come_often_are_part_of_what_to_expect() -> None:
    """Every four weeks 900 instead of 40: after the third they are no surprise, and the mean keeps them."""
    sales = steady()
    sales[28::28] = 900
    usual = chain(it=sales).to_learn_from().sales[-1]
    assert usual[28:85:28].max() < 600
    assert usual[140::28].min() > 800
    assert usual[112:].mean() == pytest.approx(sales[112:].mean(), rel=0.05)


def test_what_to_learn_from_knows_no_later_day() -> None:
    """Leading zeros are no history, bulk orders are capped; later days change neither."""
    sales = steady()
    sales[:50] = 0
    sales[100] = 40_000
    panel = chain(it=sales)
    usual = panel.to_learn_from().sales
    assert np.isnan(usual[-1, :50]).all()
    assert usual[-1, 100] == pytest.approx(240, rel=0.15)
    assert usual[-1, 101:].max() == sales[101:].max()
    for day in (60, 101, 300):
        np.testing.assert_array_equal(panel.until(day).to_learn_from().sales, usual[:, :day])


# --- closed days -----------------------------------------------------------


def closed(panel: Panel, days: int = 60) -> NDArray[np.bool_]:
    return closed_days(panel, panel.days + days)[-1, panel.days :]


def test_closed_needs_evidence() -> None:
    assert not closed(chain(it=slow())).any()
    assert not closed(chain(it=opened(before=np.nan))).any()


def test_a_new_store_s_closed_sundays() -> None:
    """Two weeks tell; four days do not, unless all other stores are closed on Sundays."""
    sales = opened(before=np.nan)
    sales[6::7] = np.where(np.isnan(sales[6::7]), np.nan, 0)
    sunday = (FIRST.weekday() + DAYS + np.arange(60)) % 7 == 6
    assert (closed(chain(it=sales)) == sunday).all()
    sales[:-4] = np.nan
    panel = chain(it=sales)
    assert not closed(panel).any()
    panel.sales[:-1, 6::7] = 0
    assert (closed(panel) == sunday).all()


def test_a_shutdown_that_is_over_is_closed_and_one_that_lasts_is_not() -> None:
    sales = steady()
    sales[100:200] = 0
    past = closed_days(chain(it=sales), DAYS)[-1]
    assert past[100:200].all()
    assert not past[:100].any()
    assert not past[200:].any()
    sales[200:] = 0
    assert not closed_days(chain(it=sales), DAYS)[-1].any()


def test_a_holiday_of_one_store() -> None:
    """1 January of three years, on days on which the store is open otherwise; other stores trade then."""
    days = 800
    sales = np.random.default_rng(3).poisson(40, (2, days)).astype(float) + 1
    panel = Panel(datetime.date(2022, 12, 1), ("1", "2"), ("A", "A"), sales, None)
    for year in (2023, 2024, 2025):
        sales[1, (datetime.date(year, 1, 1) - panel.first_date).days] = 0
    ahead = closed_days(panel, days + 365)[:, days:]
    dates = [panel.date(days + day) for day in np.flatnonzero(ahead[1]).tolist()]
    assert dates == [datetime.date(2026, 1, 1)]
    assert not ahead[0].any()


NATIONAL = ("2022-04-15", "2022-04-18", "2022-05-26", "2022-06-06", "2022-10-03", "2022-12-25", "2022-12-26")
NATIONAL_NEXT = (
    "2023-04-07",
    "2023-04-10",
    "2023-05-18",
    "2023-05-29",
    "2023-10-03",
    "2023-12-25",
    "2023-12-26",
)


def german(*closed: str, steady: bool = True) -> Panel:
    """Ten stores that are closed on these days but for the first one, at a station; known is 2022."""
    random = np.random.default_rng(3)
    sales = np.where(
        random.random((10, 363)) < (1 if steady else 0.3), random.poisson(40, (10, 363)) + 1.0, 0.0
    )
    panel = Panel(datetime.date(2022, 1, 3), tuple("0123456789"), ("A",) * 10, sales, None)
    for date in closed:
        sales[steady:, (datetime.date.fromisoformat(date) - panel.first_date).days] = 0
    return panel


def next_year(panel: Panel, store: int) -> list[str]:
    ahead = closed_days(panel, panel.days + 365)[store, panel.days :]
    return [str(panel.date(panel.days + day)) for day in np.flatnonzero(ahead).tolist()]


def test_public_holidays_move() -> None:
    """Each was seen once. 1 May was a day as any other, so 1 January, not seen, is expected to be one."""
    panel = german(*NATIONAL)
    assert next_year(panel, 0) == []
    assert next_year(panel, 1) == list(NATIONAL_NEXT)


def test_a_public_holiday_not_seen_is_as_all_others() -> None:
    assert next_year(german(*NATIONAL, "2022-05-01"), 1) == sorted(
        (*NATIONAL_NEXT, "2023-01-01", "2023-05-01")
    )


def test_a_public_holiday_of_a_part_of_the_country() -> None:
    panel = german(*NATIONAL)
    panel.sales[3, (datetime.date(2022, 6, 16) - panel.first_date).days] = 0
    assert next_year(panel, 2) == list(NATIONAL_NEXT)
    assert next_year(panel, 3) == sorted((*NATIONAL_NEXT, "2023-06-08"))


def test_public_holidays_of_stores_that_trade_seldom() -> None:
    """Which day is closed, only all of them together tell."""
    assert next_year(german(*NATIONAL, steady=False), 5) == list(NATIONAL_NEXT)


def test_the_day_before_a_public_holiday() -> None:
    """Twice the usual is sold then, which all holidays teach together: Ascension Day's eve is a Wednesday."""
    known = datetime.date(2023, 5, 1)
    first = datetime.date(2021, 1, 4)
    days = (known - first).days
    sales = np.random.default_rng(4).poisson(40, (30, days)).astype(float) + 1
    for date in holidays.country_holidays("DE", years=(2021, 2022, 2023)):
        if first < date < known:
            sales[:, (date - first).days] = 0
            sales[:, (date - first).days - 1] *= 2
    panel = Panel(first, tuple(f"{row:02}" for row in range(30)), ("A",) * 30, sales, None)
    forecast = combination(panel, 28).sales.mean(axis=0)
    assert panel.date(days + 17) == datetime.date(2023, 5, 18)
    assert forecast[17] == 0
    assert forecast[16] > 1.1 * forecast[9]


def test_days_without_trade_that_are_no_holidays_make_no_country() -> None:
    assert next_year(german(*(f"2022-{month:02}-17" for month in range(1, 13))), 1) == []
