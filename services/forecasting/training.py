"""Train a version on daily sales, named after sales and code: backtest, choice, fit, forecast, intervals."""

import datetime
import hashlib
import sys
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from modulefinder import ModuleFinder
from pathlib import Path

import msgspec
import numpy as np

from services.contracts.model import HISTORY_DAYS, HORIZON_DAYS, LEVELS, Backtest, Manifest
from services.forecasting import artifact, backtest, choice, intervals
from services.forecasting.backtest import Errors, Window
from services.forecasting.baselines import seasonal_naive
from services.forecasting.choice import COMBINATION, Weights
from services.forecasting.forecast import DECIMALS, Forecast, History
from services.forecasting.holiday_effects import HolidayEffects
from services.forecasting.intervals import NOMINAL, Intervals, Past
from services.forecasting.learning import Learn, Learned, learn_here, split, store_groups
from services.forecasting.models import CANDIDATES, PLANNED, TUNED, Candidates
from services.forecasting.panel import Matrix, Numbers, Panel, summed

_ROOT = Path(__file__).parents[2]


@cache
def code_version() -> str:
    """SHA-256 of this module, of those of `services` that it imports, and of the libraries' versions."""
    sources, libraries = imports()
    digest = hashlib.sha256()
    for file in sorted(sources):
        digest.update(file.relative_to(_ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    distributions = metadata.packages_distributions()
    for name in sorted({each for library in libraries for each in distributions.get(library, [])}):
        digest.update(f"{name} {metadata.version(name)}\n".encode())
    return digest.hexdigest()


def imports() -> tuple[set[Path], set[str]]:
    """Sources of this module and of those of `services` that it imports; names of the libraries."""
    finder = ModuleFinder([str(_ROOT)])  # where libraries are not found
    finder.import_hook(__name__)
    sources = {Path(file) for each in finder.modules.values() if (file := vars(each)["__file__"])}
    return sources, {name.partition(".")[0] for name in finder.any_missing()} - sys.stdlib_module_names


def version_of(sales: Panel, candidates: Candidates = CANDIDATES, *, group_series: int | None = None) -> str:
    """Name of the version: last day of the sales, and a hash of sales, their groups, candidates and code.

    UnusableSalesError says that the sales are too short.
    """
    ends = [group.stop for group in store_groups(sales, group_series)]
    parts = f"{sales.fingerprint} {code_version()} {' '.join(candidates)} {ends}"
    digest = hashlib.sha256(parts.encode()).hexdigest()
    return f"{sales.last_date:%Y%m%d}-{digest[:10]}"


@dataclass(frozen=True, eq=False)
class Trained:
    """A version in memory; `files` are the fitted models and the choice, name to content."""

    forecast: Forecast
    history: History
    backtest: Backtest
    files: dict[str, bytes]


def fit(
    sales: Panel,
    candidates: Candidates = CANDIDATES,
    *,
    group_series: int | None = None,
    learn: Learn = learn_here,
) -> Trained:
    """Train in memory: backtest and fit the candidates, forecast each series by the one chosen for it.

    The same sales and groups of at most `group_series` give the same bits, whoever learns from the groups.
    UnusableSalesError says that the sales are too short, or that nothing was sold.
    """
    usual = sales.to_learn_from()
    actual = replace(sales, sales=np.where(np.isnan(usual.sales), np.nan, sales.sales))
    groups, origins = split(usual, group_series)
    learned = Learned.merged(learn(groups, candidates, origins))
    windows, files = learned.windows, learned.files
    weights = None
    if COMBINATION in windows:
        windows[COMBINATION] = []  # memory
        windows[COMBINATION], weights = choice.weighted(windows, actual, usual)
    forecasts = {name: own.pop().sales for name, own in windows.items()}
    del learned
    errors = {name: backtest.errors(own, actual) for name, own in windows.items()}
    holidays = HolidayEffects(usual, origins)
    served, holidays_help = holidays.windows(choice.served(windows, errors), actual)
    del windows  # memory for the rest
    chosen = choice.choose(errors)
    files |= {"choice.json": _choice(sales, errors, chosen, weights)}
    naive = [Window(origin, seasonal_naive(actual.until(origin), HORIZON_DAYS).sales) for origin in origins]
    errors |= {"served": backtest.errors(served, actual), "naive": backtest.errors(naive, actual)}
    scores = backtest.scores(errors, actual, origins)
    held = intervals.coverage(served, actual, usual)
    report = Backtest(
        horizon=backtest.HORIZON,
        origins=[sales.date(window.origin - 1) for window in served],
        model=scores.pop("served"),
        seasonal_naive=scores.pop("naive"),
        candidates=scores,
        chosen=dict(zip(forecasts, np.bincount(chosen, minlength=len(forecasts)).tolist(), strict=True)),
        tuned=TUNED,
        coverage=held.levels["series"] or 0.0,
        coverage_by=held,
        country=holidays.country,
        holiday_effects=holidays_help,
    )
    raw = choice.pick(list(forecasts.values()), chosen)
    if holidays_help:
        raw = holidays.forecast(raw)
    # However seldom a series sells, what is expected of an open day is not rounded to 0.
    expected = np.maximum(raw.round(DECIMALS), np.where(raw > 0, 10.0**-DECIMALS, 0))
    ends: dict[str, tuple[Matrix, Matrix]] = {}
    for level in LEVELS:
        past = Past.of(served, actual, usual, level)
        sums = summed(expected, actual.groups(level))
        lower, upper = Intervals(past, actual.days).around(sums, past.usual)
        ends[level] = np.minimum(lower.round(DECIMALS), sums), np.maximum(upper.round(DECIMALS), sums)
    lower, upper = ends.pop("series")
    table = Forecast(
        version=version_of(sales, candidates, group_series=group_series),
        dates=tuple(sales.date(sales.days + day) for day in range(HORIZON_DAYS)),
        store_nbr=sales.store_nbr,
        family=sales.family,
        sales=expected,
        lower=lower,
        upper=upper,
        sums=ends,
    )
    first = max(0, sales.days - HISTORY_DAYS)
    days = tuple(sales.date(day) for day in range(first, sales.days))
    return Trained(table, History(days, sales.sales[:, first:]), report, files)


def train(
    sales: Panel,
    directory: Path,
    candidates: Candidates = CANDIDATES,
    *,
    group_series: int | None = None,
    learn: Learn = learn_here,
) -> Manifest:
    """Train and save the version in `directory`; see `fit`."""
    trained = fit(sales, candidates, group_series=group_series, learn=learn)
    uses_plan = trained.backtest.chosen.get(PLANNED)
    manifest = Manifest(
        version=trained.forecast.version,
        created_at=datetime.datetime.now(datetime.UTC),
        code_version=code_version(),
        data_fingerprint=sales.fingerprint,
        first_date=sales.first_date,
        last_date=sales.last_date,
        series=len(sales.family),
        horizon=HORIZON_DAYS,
        interval=NOMINAL,
        backtest=trained.backtest,
        files={},
        planned_until=sales.date(sales.days + sales.planned - 1) if uses_plan else None,
    )
    return artifact.save(directory, manifest, trained.forecast, trained.history, trained.files)


def _choice(sales: Panel, errors: Errors, chosen: Numbers, weights: Weights | None) -> bytes:
    """The choice as JSON: the default, weights of the combination, and who else serves which series.

    Store to family to that other forecaster, with how its error in the backtest compares with the default's.
    """
    names, default = list(errors), choice.default(errors)
    own = choice.of_series(errors)
    others: dict[str, dict[str, dict[str, float]]] = {}
    for row in np.flatnonzero(chosen != default):
        relative = own[chosen[row], row] / own[default, row]
        of_store = others.setdefault(sales.store_nbr[row], {})
        of_store[sales.family[row]] = {names[chosen[row]]: round(float(relative), 3)}
    told = {
        "default": names[default],
        "weights": dict(zip(choice.PARTS, weights, strict=True)) if weights else {},
        "others": others,
    }
    return msgspec.json.format(msgspec.json.encode(told)) + b"\n"
