"""Train a version on daily sales: backtest, choice, fit, forecast, intervals."""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.contracts.model import HISTORY_DAYS, HORIZON_DAYS, LEVELS, Backtest, Manifest
from services.forecasting import artifact, backtest, choice, intervals
from services.forecasting.backtest import Window
from services.forecasting.baselines import seasonal_naive
from services.forecasting.choice import CANDIDATES
from services.forecasting.code import code_version
from services.forecasting.forecast import DECIMALS, Forecast, History
from services.forecasting.intervals import NOMINAL, Intervals, Past
from services.forecasting.levels import groups, summed
from services.forecasting.models import TUNED, planned
from services.forecasting.panel import Forecaster, Panel

CHOICE_FILE = "choice.json"
_SERVED = "what is served"
_NAIVE = "seasonal naive"

Candidates = Mapping[str, Forecaster]


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
    tried = dict(candidates)
    if sales.planned and "combination" in candidates:
        tried[choice.PLANNED] = planned
    usual = sales.to_learn_from()
    actual = replace(sales, sales=np.where(np.isnan(usual.sales), np.nan, sales.sales))
    windows = {name: backtest.run(candidate, usual) for name, candidate in tried.items()}
    served = choice.served(windows, actual)
    chosen = choice.choose(windows, actual, sales.days)
    naive = backtest.run(seasonal_naive, actual)
    scores = backtest.scores({**windows, _SERVED: served, _NAIVE: naive}, actual)
    chosen_file = _choice(actual, windows, chosen)
    del windows, naive  # memory for the rest
    held = intervals.coverage(served, actual, usual)
    report = Backtest(
        horizon=backtest.HORIZON,
        origins=[sales.date(window.origin - 1) for window in served],
        model=scores.pop(_SERVED),
        seasonal_naive=scores.pop(_NAIVE),
        candidates=scores,
        chosen=dict(zip(tried, np.bincount(chosen, minlength=len(tried)).tolist(), strict=True)),
        tuned=TUNED,
        coverage=held.levels["series"] or 0.0,
        coverage_by=held,
    )
    fitted = [candidate(usual, HORIZON_DAYS) for candidate in tried.values()]
    raw = choice.pick([each.sales for each in fitted], chosen)
    # However seldom a series sells, what is expected of an open day is not rounded to 0.
    expected = np.maximum(raw.round(DECIMALS), np.where(raw > 0, 10.0**-DECIMALS, 0))
    ends = {level: _ends(level, expected, served, actual, usual) for level in LEVELS}
    lower, upper = ends.pop("series")
    table = Forecast(
        version=version_of(sales, candidates),
        dates=tuple(sales.date(sales.days + day) for day in range(HORIZON_DAYS)),
        store_nbr=sales.store_nbr,
        family=sales.family,
        sales=expected,
        lower=lower,
        upper=upper,
        sums=ends,
    )
    files = {name: content for each in fitted for name, content in each.files.items()}
    return Trained(table, _history(sales), report, files | {CHOICE_FILE: chosen_file})


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
        planned_until=sales.date(sales.days + sales.planned - 1)
        if trained.backtest.chosen.get(choice.PLANNED)
        else None,
    )
    return artifact.save(directory, manifest, trained.forecast, trained.history, trained.files)


def _ends(
    level: str, expected: NDArray[np.float64], served: Sequence[Window], actual: Panel, usual: Panel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends of the sums at a level, rounded."""
    past = Past.of(served, actual, usual, level)
    sums = summed(expected, groups(actual, level))
    lower, upper = Intervals(past, actual.days).around(sums, past.usual)
    return np.minimum(lower.round(DECIMALS), sums), np.maximum(upper.round(DECIMALS), sums)


def _choice(sales: Panel, windows: Mapping[str, Sequence[Window]], chosen: NDArray[np.intp]) -> bytes:
    """The choice as JSON: what serves a series unless it is named, store to family, with another one.

    With that is how its error in the backtest compares with the default's.
    """
    names, default = list(windows), choice.default(windows, sales, sales.days)
    errors = choice.errors(windows, sales, sales.days)
    others: dict[str, dict[str, dict[str, float]]] = {}
    for row in np.flatnonzero(chosen != default):
        relative = errors[chosen[row], row] / errors[default, row]
        of_store = others.setdefault(sales.store_nbr[row], {})
        of_store[sales.family[row]] = {names[chosen[row]]: round(float(relative), 3)}
    return msgspec.json.format(msgspec.json.encode({"default": names[default], "others": others})) + b"\n"


def _history(sales: Panel) -> History:
    first = max(0, sales.days - HISTORY_DAYS)
    return History(
        dates=tuple(sales.date(day) for day in range(first, sales.days)),
        sales=sales.sales[:, first:],
    )
