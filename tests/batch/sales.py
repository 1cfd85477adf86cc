"""Small sales that train fast."""

import datetime

import numpy as np
import polars as pl

SERIES = (("1", "BREAD"), ("1", "MILK"), ("2", "BREAD"))


def small_sales(last: datetime.date, days: int) -> pl.DataFrame:
    """Daily sales of three series with a weekly pattern, the same for the same day whatever the range."""
    frames: list[pl.DataFrame] = []
    dates = [last - datetime.timedelta(days=back) for back in reversed(range(days))]
    for number, (store, family) in enumerate(SERIES, start=1):
        sold = [
            float(np.random.default_rng([number, date.toordinal()]).poisson(10 * number + 5 * date.weekday()))
            for date in dates
        ]
        frames.append(pl.DataFrame({"date": dates, "store_nbr": store, "family": family, "sales": sold}))
    return pl.concat(frames)
