"""From daily sales to a saved version: backtest, fit, forecast, intervals, artifact."""

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
from services.forecasting.forecast import DECIMALS, Forecast
from services.forecasting.history import History
from services.forecasting.intervals import NOMINAL, Intervals
from services.forecasting.models import TUNED, Forecaster
from services.forecasting.panel import Panel

CHOICE_FILE = "choice.json"

Candidates = Mapping[str, Callable[[], Forecaster]]


def version_of(sales: Panel, candidates: Candidates = CANDIDATES) -> str:
    """The version that training gives: last day of the data, and a hash of data, candidates and code."""
    parts = f"{sales.fingerprint()} {code_version(__name__)} {' '.join(candidates)}"
    digest = hashlib.sha256(parts.encode()).hexdigest()
    return f"{sales.last_date:%Y%m%d}-{digest[:10]}"


@dataclass(frozen=True, eq=False)
class Trained:
    """What training on some sales gives, in memory.

    Attributes:
        forecast: the next HORIZON_DAYS days of every series.
        history: the days before.
        backtest: how well the same method would have done before.
        files: the fitted model and which forecaster serves which series, name to content.
    """

    forecast: Forecast
    history: History
    backtest: Backtest
    files: dict[str, bytes]


def fit(sales: Panel, candidates: Candidates = CANDIDATES) -> Trained:
    """Train and predict in one go, nothing saved: the transient pipeline, and the first half of `train`.

    Each candidate is backtested and fitted on all sales; each series is forecast by the candidate that did
    best on it. The same sales give the same numbers to the bit as a version made by `train`.

    Args:
        sales: of every series.
        candidates: forecasters by name, among which each series gets one; the first is the incumbent.

    Raises:
        UnusableSalesError: the data is too short, or holds nothing to learn from.
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
    """Train on all sales and save the version: the persistent pipeline.

    Args:
        sales: of every series.
        directory: where to save.
        candidates: see `fit`.

    Raises:
        UnusableSalesError: the data is too short, or holds nothing to learn from.
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
    """Who serves which series, as JSON: store to family to forecaster."""
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
