"""Sales as matrices, their fingerprint, and the days on which a store is closed."""

import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.forecasting.closed_days import closed_days
from services.forecasting.panel import Panel, UnusableSalesError
from tests.forecasting.conftest import FIRST


def test_matrices_hold_the_rows(sales: pl.DataFrame, panel: Panel) -> None:
    assert panel.first_date == FIRST
    assert panel.last_date == FIRST + datetime.timedelta(days=189)
    assert list(zip(panel.store_nbr, panel.family, strict=True)) == [
        (store, family) for store in "12" for family in ("F00", "F01", "F02")
    ]
    assert panel.onpromotion is not None
    for date, store, family, sold, promoted in sales.iter_rows():
        at = int(store) * 3 - 3 + int(family[1:]), (date - FIRST).days
        assert (panel.sales[at], panel.onpromotion[at]) == (sold, promoted)
    assert np.isnan(panel.sales).sum() == 60  # before the late series begins
    assert np.isnan(panel.sales[5, :60]).all()


@given(seed=st.integers(0, 2**32))
def test_the_order_of_rows_does_not_matter(sales: pl.DataFrame, panel: Panel, seed: int) -> None:
    shuffled = Panel.from_frame(sales.sample(fraction=1, shuffle=True, seed=seed))
    assert shuffled.fingerprint == panel.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        pl.col("sales") + (pl.int_range(pl.len()) == 700) * 1e-9,
        pl.col("onpromotion") + (pl.int_range(pl.len()) == 700).cast(pl.Int64),
        pl.col("date") + pl.duration(days=1),
        pl.col("family").str.replace("F01", "F03"),
    ],
)
def test_any_change_changes_the_fingerprint(sales: pl.DataFrame, panel: Panel, change: pl.Expr) -> None:
    assert Panel.from_frame(sales.with_columns(change)).fingerprint != panel.fingerprint


def test_without_promotions_is_another_fingerprint(sales: pl.DataFrame, panel: Panel) -> None:
    without = Panel.from_frame(sales.drop("onpromotion"))
    assert without.onpromotion is None
    assert without.fingerprint != panel.fingerprint


@pytest.mark.parametrize("row", [5, 500])
def test_a_missing_day_is_refused(sales: pl.DataFrame, row: int) -> None:
    store, family = sales.select("store_nbr", "family").row(row)
    with pytest.raises(UnusableSalesError, match=f"{store}, {family}"):
        Panel.from_frame(sales.with_row_index("i").filter(pl.col("i") != row))


def test_a_repeated_day_is_refused(sales: pl.DataFrame) -> None:
    with pytest.raises(UnusableSalesError, match="repeated days"):
        Panel.from_frame(pl.concat([sales, sales[500:501]]))


def test_a_series_that_ends_early_is_refused(sales: pl.DataFrame) -> None:
    ended = (pl.col("family") == "F01") & (pl.col("date") > datetime.date(2022, 6, 1))
    with pytest.raises(UnusableSalesError, match="1, F01; 2, F01"):
        Panel.from_frame(sales.filter(~ended))


def test_no_sales_at_all(sales: pl.DataFrame) -> None:
    with pytest.raises(UnusableSalesError, match="there are no sales"):
        Panel.from_frame(sales.head(0))


def with_plan(sales: pl.DataFrame, *, after: int) -> pl.DataFrame:
    """Ten days of planned promotions for one series, from so many days after the last sale on."""
    last = sales["date"].max()
    assert isinstance(last, datetime.date)
    plan = {
        "date": [last + datetime.timedelta(days=after + day) for day in range(10)],
        "store_nbr": "1",
        "family": "F01",
        "sales": None,
        "onpromotion": 7,
    }
    return pl.concat([sales, pl.DataFrame(plan, schema=sales.schema)])


def test_a_plan_is_known_ahead_of_each_day(sales: pl.DataFrame, panel: Panel) -> None:
    planned = Panel.from_frame(with_plan(sales, after=1))
    assert planned.onpromotion is not None
    assert panel.onpromotion is not None
    assert (planned.planned, planned.days) == (10, panel.days)
    np.testing.assert_array_equal(planned.onpromotion[:, : panel.days], panel.onpromotion)
    np.testing.assert_array_equal(planned.onpromotion[:, panel.days :].sum(axis=1), [0, 70, 0, 0, 0, 0])
    assert planned.fingerprint != panel.fingerprint
    known = planned.until(150)
    assert known.onpromotion is not None
    np.testing.assert_array_equal(known.onpromotion, panel.onpromotion[:, :160])
    assert known.to_learn_from().planned == 10


def test_a_plan_that_begins_later_is_ignored(sales: pl.DataFrame, panel: Panel) -> None:
    planned = Panel.from_frame(with_plan(sales, after=2))
    assert planned.fingerprint == panel.fingerprint


def test_a_day_without_sales_is_no_plan(sales: pl.DataFrame) -> None:
    first = pl.int_range(pl.len()) == 100
    with pytest.raises(UnusableSalesError, match="one row for each day"):
        Panel.from_frame(sales.with_columns(sales=pl.when(~first).then(pl.col("sales"))))


def test_until_knows_nothing_later(panel: Panel) -> None:
    known = panel.until(100)
    assert (known.days, known.last_date) == (100, FIRST + datetime.timedelta(days=99))
    assert known.onpromotion is not None
    assert known.onpromotion.shape == known.sales.shape == (6, 100)


# --- closed days -----------------------------------------------------------


def daily(closed: set[datetime.date], years: int = 3, closed_weekday: dict[str, int] | None = None) -> Panel:
    """Two stores that sell a unit each day but for these days and weekdays, from 1 January 2018."""
    first = datetime.date(2018, 1, 1)
    days = [first + datetime.timedelta(days=day) for day in range(365 * years)]
    rows = [
        (day, store, "F", float(day not in closed and day.weekday() != (closed_weekday or {}).get(store)))
        for store in "AB"
        for day in days
    ]
    return Panel.from_frame(pl.DataFrame(rows, schema=["date", "store_nbr", "family", "sales"], orient="row"))


def closed_dates(panel: Panel, series: int, days: int = 365) -> set[datetime.date]:
    """Days after the panel's end on which the store of a series is expected to be closed."""
    closed = closed_days(panel, panel.days + days)[series, panel.days :]
    return {panel.date(panel.days + day) for day in np.flatnonzero(closed).tolist()}


def test_a_store_s_closed_weekday() -> None:
    panel = daily(set(), closed_weekday={"B": 6})
    assert closed_dates(panel, 0) == set()
    assert {day.weekday() for day in closed_dates(panel, 1)} == {6}
    assert len(closed_dates(panel, 1)) == 52


def test_holidays_come_back_and_moving_ones_do_not() -> None:
    christmas = {datetime.date(year, 12, 25) for year in (2018, 2019, 2020)}
    moving = {datetime.date(2018, 4, 1), datetime.date(2019, 4, 21), datetime.date(2020, 4, 12)}
    last = datetime.date(2018, 1, 1) + datetime.timedelta(days=3 * 365 - 1)
    assert last == datetime.date(2020, 12, 30)
    assert closed_dates(daily(christmas | moving), 0) == {datetime.date(2021, 12, 25)}


def test_a_holiday_with_trade_once_is_none() -> None:
    christmas = {datetime.date(year, 12, 25) for year in (2018, 2019)}
    assert closed_dates(daily(christmas), 0) == set()


def test_a_day_closed_but_for_its_weekday_is_no_holiday() -> None:
    """Sundays fall on a date every few years: that alone says nothing about the date."""
    panel = daily(set(), years=2, closed_weekday={"A": 6, "B": 6})
    assert {day.weekday() for day in closed_dates(panel, 0)} == {6}


def test_a_weekday_with_rare_trade_is_closed() -> None:
    panel = daily(set(), closed_weekday={"A": 5})
    sales = panel.sales.copy()
    saturday = next(day for day in range(panel.days - 7, panel.days) if panel.date(day).weekday() == 5)
    sales[0, saturday - 7] = 9
    opened = Panel(panel.first_date, panel.store_nbr, panel.family, sales, None)
    assert {day.weekday() for day in closed_dates(opened, 0)} == {5}
