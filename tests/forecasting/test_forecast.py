"""The forecast table: what it accepts, which series a filter selects, the rows it gives."""

import datetime
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.forecasting.forecast import Forecast, UnknownSeriesError

DAYS = tuple(datetime.date(2024, 2, 28) + datetime.timedelta(days=day) for day in range(4))
SALES = np.arange(12, dtype=np.float64).reshape(3, 4)
SUMS = {
    "total": (np.full((1, 4), 1.0), np.full((1, 4), 99.0)),
    "store_nbr": (np.full((2, 4), [[2.5], [3.0]]), np.full((2, 4), 99.0)),
    "family": (np.full((2, 4), [[4.0], [5.0]]), np.full((2, 4), 99.0)),
}
FORECAST = Forecast(
    "v1", DAYS, ("1", "1", "2"), ("BREAD", "MILK", "BREAD"), SALES, SALES / 2, SALES * 2, SUMS
)


def test_no_filter_selects_all() -> None:
    assert FORECAST.select().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("stores", "families", "expected"),
    [
        (("1",), (), [0, 1]),
        ((), ("BREAD",), [0, 2]),
        (("2", "1"), ("BREAD",), [0, 2]),
        (("1", "1"), ("MILK",), [1]),
    ],
)
def test_filters_narrow_each_other(
    stores: tuple[str, ...], families: tuple[str, ...], expected: list[int]
) -> None:
    assert FORECAST.select(store_nbr=stores, family=families).tolist() == expected


@pytest.mark.parametrize(
    ("stores", "families", "field", "value", "allowed"),
    [
        (("1", "9"), (), "store_nbr", "9", ("1", "2")),
        ((), ("bread",), "family", "bread", ("BREAD", "MILK")),
        (("2",), ("MILK",), "family", "MILK", ("BREAD",)),  # known, but not sold there
    ],
)
def test_unknown_values_say_what_is_known(
    stores: tuple[str, ...], families: tuple[str, ...], field: str, value: str, allowed: tuple[str, ...]
) -> None:
    with pytest.raises(UnknownSeriesError) as caught:
        FORECAST.select(store_nbr=stores, family=families)
    assert (caught.value.field, caught.value.value, caught.value.allowed) == (field, value, allowed)


@pytest.mark.parametrize("value", ["p077x", "A", "zebra", "P050"])
def test_of_thousands_of_known_values_the_next_ones_are_named(value: str) -> None:
    """A log line, a dead letter and an answer over HTTP stay short."""
    known = [f"P{number:03}" for number in range(1000) if number != 50]
    error = UnknownSeriesError("family", value, known)
    assert len(error.allowed) == 10
    assert {*error.allowed} < {*known}
    if value == "p077x":
        assert "P077" in error.allowed
    assert str(error).endswith("and 989 more")
    assert len(str(error)) < 200


def test_a_few_of_many_known_values_are_looked_at() -> None:
    class Name(str):
        __slots__ = ()

        def casefold(self) -> str:
            looked_at.append(self)
            return super().casefold()

    looked_at: list[str] = []
    UnknownSeriesError("family", "P077x", [Name(f"P{number:05}") for number in range(30_490)])
    assert len(looked_at) < 20


@pytest.mark.parametrize(
    ("stores", "families", "lower"),
    [
        ((), (), 1),
        (("1", "2"), (), 1),
        (("1",), (), 2.5),
        (("1",), ("BREAD", "MILK"), 2.5),
        ((), ("BREAD",), 4),
        (("1",), ("MILK",), 2),  # one series: its own
    ],
)
def test_intervals_of_sums(stores: tuple[str, ...], families: tuple[str, ...], lower: float) -> None:
    ends = FORECAST.interval_of_sum(FORECAST.select(store_nbr=stores, family=families))
    assert ends is not None
    assert ends[0][0] == lower


def test_a_sum_that_was_not_backtested_has_no_interval() -> None:
    four = replace(
        FORECAST,
        store_nbr=("1", "1", "2", "3"),
        family=("BREAD", "MILK", "BREAD", "BREAD"),
        **{name: np.ones((4, 4)) for name in ("sales", "lower", "upper")},
        sums={"total": SUMS["total"]},
    )
    assert four.interval_of_sum(four.select(store_nbr=("1", "2"), family=("BREAD",))) is None
    assert four.interval_of_sum(four.select(store_nbr=("1",))) is None  # a version of before there were any


@given(days=st.integers(1, 4), chosen=st.lists(st.integers(0, 2), unique=True))
def test_rows_are_the_table_by_series_then_date(days: int, chosen: list[int]) -> None:
    rows = FORECAST.rows(days, chosen)
    assert [(row.store_nbr, row.family, row.date) for row in rows] == [
        (FORECAST.store_nbr[i], FORECAST.family[i], DAYS[day]) for i in chosen for day in range(days)
    ]
    values = [(row.sales, row.lower, row.upper) for row in rows]
    assert values == [(s, s / 2, s * 2) for i in chosen for s in SALES[i, :days].tolist()]


@pytest.mark.parametrize("days", [0, -1, 5])
def test_rows_within_the_horizon_only(days: int) -> None:
    with pytest.raises(ValueError, match="1 to 4 days"):
        FORECAST.rows(days, [0])


@pytest.mark.parametrize(
    "change",
    [
        {"family": ("MILK", "BREAD", "BREAD")},
        {"store_nbr": ("1", "1", "1"), "family": ("A", "A", "B")},
        {"store_nbr": (), "family": (), "sales": SALES[:0], "lower": SALES[:0], "upper": SALES[:0]},
        {"store_nbr": (1, 1, 2)},
        {"family": ("A\0", "B", "C")},
        {"family": ("A\x85", "B", "C")},
        {"family": ("", "B", "C")},
        {"family": ("A" * 129, "B", "C")},
        {"dates": (*DAYS[:3], DAYS[0])},
        {"dates": tuple(datetime.datetime(2024, 1, day) for day in (1, 2, 3, 4))},
        {"dates": (1, 2, 3, 4)},
        {"sales": SALES[:, :3]},
        {"sales": SALES.astype(np.float32)},
        {"lower": -SALES},
        {"lower": SALES + 1},
        {"upper": SALES - 1},
        {"upper": np.where(SALES == 3, np.nan, SALES * 2)},
        {"sums": {"total": SUMS["family"]}},
        {"sums": {"family": SUMS["family"][::-1]}},
    ],
)
def test_inconsistent_tables_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(FORECAST, **change)
