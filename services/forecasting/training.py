"""From daily sales to a saved version: backtest, fit, forecast, intervals, artifact."""

import datetime
import hashlib
from pathlib import Path

import lightgbm
import numpy as np

from services.contracts.model import HISTORY_DAYS, HORIZON_DAYS, Backtest, Manifest
from services.forecasting import artifact, backtest, features, forecast, intervals, models, panel
from services.forecasting.forecast import DECIMALS, Forecast
from services.forecasting.history import History
from services.forecasting.intervals import NOMINAL, Intervals
from services.forecasting.models import GradientBoosting, SeasonalNaive
from services.forecasting.panel import Panel

_CODE = (artifact, backtest, features, forecast, intervals, models, panel)
"""What decides, with the data, over every byte of a version; their sources hold the parameters."""


def code_version() -> str:
    """SHA-256 of the training code, of the horizon, and of the versions of the libraries that compute."""
    libraries = f"lightgbm {lightgbm.__version__}, numpy {np.__version__}"
    digest = hashlib.sha256(f"{libraries}, {HORIZON_DAYS} days".encode())
    for path in (*(module.__file__ for module in _CODE), __file__):
        digest.update(Path(str(path)).read_bytes())
    return digest.hexdigest()


def version_of(sales: Panel) -> str:
    """The version that training on these sales gives: last day of the data, and a hash of data and code."""
    digest = hashlib.sha256(f"{sales.fingerprint()} {code_version()}".encode()).hexdigest()
    return f"{sales.last_date:%Y%m%d}-{digest[:10]}"


def train(sales: Panel, directory: Path) -> Manifest:
    """Backtest the model against the seasonal naive, fit it on all sales, save its version.

    Args:
        sales: of every series.
        directory: where to save.

    Raises:
        UnusableSalesError: the data is too short, or holds nothing to learn from.
    """
    windows = backtest.run(GradientBoosting, sales)
    naive = backtest.run(SeasonalNaive, sales)
    report = Backtest(
        horizon=backtest.HORIZON,
        origins=[sales.date(window.origin - 1) for window in windows],
        model=backtest.scores(windows, sales),
        seasonal_naive=backtest.scores(naive, sales),
        coverage=intervals.coverage(windows, sales),
    )
    model = GradientBoosting().fit(sales)
    expected = model.predict(sales, HORIZON_DAYS).round(DECIMALS)
    lower, upper = Intervals(windows, sales).around(expected, sales)
    table = Forecast(
        version=version_of(sales),
        dates=tuple(sales.date(sales.days + day) for day in range(HORIZON_DAYS)),
        store_nbr=sales.store_nbr,
        family=sales.family,
        sales=expected,
        lower=lower.round(DECIMALS),
        upper=upper.round(DECIMALS),
    )
    return artifact.save(
        directory,
        table,
        _history(sales),
        model.files(),
        created_at=datetime.datetime.now(datetime.UTC),
        code_version=code_version(),
        data_fingerprint=sales.fingerprint(),
        first_date=sales.first_date,
        interval=NOMINAL,
        backtest=report,
    )


def _history(sales: Panel) -> History:
    first = max(0, sales.days - HISTORY_DAYS)
    return History(
        dates=tuple(sales.date(day) for day in range(first, sales.days)),
        sales=sales.sales[:, first:].astype(np.float32),
    )
