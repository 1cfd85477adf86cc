"""Sales made up for tests: seasons, promotions, a closed weekday, a series that begins late."""

import datetime

import numpy as np
import polars as pl
import pytest

from services.forecasting.panel import Panel

FIRST = datetime.date(2022, 1, 3)  # a Monday


def make_sales(
    days: int = 190, *, stores: int = 2, families: int = 3, promotion: bool = True
) -> pl.DataFrame:
    """Rows of the contract, sorted; nobody trades on Sundays."""
    random = np.random.default_rng(7)
    day = np.arange(days)
    weekday = day % 7
    frames = []
    for store in range(1, stores + 1):
        for family in range(families):
            promoted = random.poisson(0.5, days)
            expected = 5.0 * store * (family + 1) * (1 + 0.4 * np.sin(day / 58)) * (1 + 0.5 * promoted)
            sold = random.poisson(expected * (1 + weekday / 6)) * (weekday != 6)
            frames.append(
                pl.DataFrame(
                    {
                        "date": [FIRST + datetime.timedelta(days=int(i)) for i in day],
                        "store_nbr": str(store),
                        "family": f"F{family:02}",
                        "sales": sold.astype(float),
                        "onpromotion": promoted,
                    }
                )
            )
    sales = pl.concat(frames)
    return sales if promotion else sales.drop("onpromotion")


@pytest.fixture(scope="session")
def sales() -> pl.DataFrame:
    late = (pl.col("family") == "F02") & (pl.col("date") < FIRST + datetime.timedelta(days=60))
    return make_sales().filter(~(late & (pl.col("store_nbr") == "2")))


@pytest.fixture(scope="session")
def panel(sales: pl.DataFrame) -> Panel:
    return Panel.from_frame(sales)
