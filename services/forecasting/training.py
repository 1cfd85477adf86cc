"""Train a version on daily sales: backtest, choice, fit, forecast, intervals."""

import datetime
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.contracts.model import HISTORY_DAYS, HORIZON_DAYS, Backtest, Manifest
from services.forecasting import artifact, backtest, choice, intervals
from services.forecasting.baselines import SeasonalNaive
from services.forecasting.choice import CANDIDATES
from services.forecasting.code import code_version
from services.forecasting.forecast import DECIMALS, Forecast, History
from services.forecasting.intervals import NOMINAL, Intervals
from services.forecasting.models import TUNED, Forecaster
from services.forecasting.panel import Panel

CHOICE_FILE = "choice.json"

Candidates = Mapping[str, Callable[[], Forecaster]]


def version_of(sales: Panel, candidates: Candidates = CANDIDATES) -> str:
    """Name of the version: last day of the sales, and a hash of sales, candidates and code."""
    parts = f"{sales.fingerprint()} {code_version(__name__)} {' '.join(candidates)}"
    digest = hashlib.sha256(parts.encode()).hexdigest()
    return f"{sales.last_date:%Y%m%d}-{digest[:10]}"


@dataclass(frozen=True, eq=False)
class Trained:
    """A version in memory; `files` are the fitted models and the choice, name to content."""

    forecast: Forecast
    history: History
    backtest: Backtest
    files: dict[str, bytes]


def fit(sales: Panel, candidates: Candidates = CANDIDATES) -> Trained:
    """Train in memory: backtest and fit the candidates, forecast each series by the one chosen for it.

    The same sales give the same bits.

    Raises:
        UnusableSalesError: the sales are too short, or nothing was sold.
    """
    windows = {name: backtest.run(candidate, sales) for name, candidate in candidates.items()}
    served = choice.served(windows, sales)
    chosen = choice.choose(windows, sales, sales.days)
    report = Backtest(
        horizon=backtest.HORIZON,
        origins=[sales.date(window.origin - 1) for window in served],
        model=backtest.scores(served, sales),
        seasonal_naive=backtest.scores(backtest.run(SeasonalNaive, sales), sales),
        candidates={name: backtest.scores(own, sales) for name, own in windows.items()},
        chosen=dict(zip(candidates, np.bincount(chosen, minlength=len(candidates)).tolist(), strict=True)),
        tuned=TUNED,
        coverage=intervals.coverage(served, sales),
    )
    fitted = [candidate().fit(sales) for candidate in candidates.values()]
    expected = choice.pick([each.predict(sales, HORIZON_DAYS) for each in fitted], chosen).round(DECIMALS)
    lower, upper = Intervals(served, sales).around(expected, sales)
    table = Forecast(
        version=version_of(sales, candidates),
        dates=tuple(sales.date(sales.days + day) for day in range(HORIZON_DAYS)),
        store_nbr=sales.store_nbr,
        family=sales.family,
        sales=expected,
        lower=lower.round(DECIMALS),
        upper=upper.round(DECIMALS),
    )
    files = {name: content for each in fitted for name, content in each.files().items()}
    return Trained(
        table, _history(sales), report, files | {CHOICE_FILE: _choice(sales, list(candidates), chosen)}
    )


def train(sales: Panel, directory: Path, candidates: Candidates = CANDIDATES) -> Manifest:
    """Train and save the version in `directory`.

    Raises:
        UnusableSalesError: see `fit`.
    """
    trained = fit(sales, candidates)
    manifest = Manifest(
        version=trained.forecast.version,
        created_at=datetime.datetime.now(datetime.UTC),
        code_version=code_version(__name__),
        data_fingerprint=sales.fingerprint(),
        first_date=sales.first_date,
        last_date=sales.last_date,
        series=len(sales.family),
        horizon=HORIZON_DAYS,
        interval=NOMINAL,
        backtest=trained.backtest,
        files={},
    )
    return artifact.save(directory, manifest, trained.forecast, trained.history, trained.files)


def _choice(sales: Panel, names: list[str], chosen: NDArray[np.intp]) -> bytes:
    """The choice as JSON: store to family to forecaster."""
    by_store: dict[str, dict[str, str]] = {}
    for store, family, position in zip(sales.store_nbr, sales.family, chosen.tolist(), strict=True):
        by_store.setdefault(store, {})[family] = names[position]
    return msgspec.json.format(msgspec.json.encode(by_store)) + b"\n"


def _history(sales: Panel) -> History:
    first = max(0, sales.days - HISTORY_DAYS)
    return History(
        dates=tuple(sales.date(day) for day in range(first, sales.days)),
        sales=sales.sales[:, first:].astype(np.float32),
    )
