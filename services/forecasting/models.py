"""The model of all series at once, LightGBM with Tweedie loss; and the candidates that serve a series.

Direct: the distance to the origin is a feature, and training days are seen from random origins. A
recursive form of the same model scored no better on the default data, forecasts a step per day, and feeds
on its own errors.

The target is a day's sales relative to the series' level at the origin, so that series of all sizes
share what they have in common, such as the weeks before Christmas. Days on which the store is closed
are not learned from, and forecast as 0.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from services.contracts.model import HORIZON_DAYS
from services.forecasting.baselines import croston, exponential_smoothing, theta
from services.forecasting.choice import COMBINATION, PARTS, USUAL, combined
from services.forecasting.features import Features
from services.forecasting.panel import BLOCK, Fitted, Forecaster, Matrix, Panel, UnusableSalesError

if TYPE_CHECKING:
    from lightgbm import Booster

TUNED = (
    "On the default data: weight on 8 windows from 2011-04-01 to 2011-08-04, before those reported; "
    "fractions, bins and Tweedie power on 8 windows from 2011-08-05 to 2011-12-09, those reported and a day "
    "more; limit of bulk orders, margin of the default, evidence of slow series and of public holidays, "
    "learning rate, rounds, leaves and their penalty on the windows reported and on other data sets; how "
    "long sales have to be for seasons of the year on other data sets."
)
"""Which data chose the parameters, in a backtest of a handful of values each: a score on it flatters."""
_ROUNDS = 100
_SEEDS = (1, 2, 3)
_PARAMETERS = {
    "objective": "tweedie",
    "tweedie_variance_power": 1.5,
    "learning_rate": 0.11,
    "num_leaves": 31,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 30.0,
    "max_bin": 63,
    # The same bytes from the same data: sums of floats depend on the number of threads. One each, and
    # several models at a time: threads of one model wait for each other, for long on a busy machine.
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
_WEIGHT_POWER = 0.25  # of the level, for a row's weight: 0 counts all series alike, 1 all units sold
_WARM_UP = 28  # days of a series before its first origin
_MAX_ROWS = 50_000  # for each seed, drawn at random: more cost time and hardly help
_EVIDENCE = 6  # days with sales in a year at which what the trees say counts as much as the level


def fit(panel: Panel, features: Features) -> "list[Booster]":
    """Learn models that differ in days, origins and columns drawn; UnusableSalesError if nothing was sold."""
    import lightgbm  # a quarter of the CPU that a command takes to start, and most do not train

    begin = np.isnan(panel.sales).sum(axis=1)
    warm = np.arange(panel.days) > begin[:, None] + _WARM_UP
    usable = np.flatnonzero(~features.closed[:, : panel.days] & warm)
    if len(usable) == 0:
        raise UnusableSalesError("there is no day with sales to learn from")

    def one(seed: int) -> "Booster":
        random = np.random.default_rng(seed)
        drawn = np.sort(random.choice(len(usable), min(len(usable), _MAX_ROWS), replace=False))
        who, day = np.divmod(usable[drawn], panel.days)
        origin = day - random.integers(0, np.minimum(HORIZON_DAYS, day - begin[who] - _WARM_UP))
        rows = features.rows(who, origin, day)
        data = lightgbm.Dataset(
            rows.matrix(),
            label=panel.sales[who, day] / rows.level,
            weight=rows.level**_WEIGHT_POWER,
            feature_name=list(rows.columns),
            categorical_feature=["weekday"],
        )
        return lightgbm.train({**_PARAMETERS, "seed": seed}, data, num_boost_round=_ROUNDS)

    return [one(seed) for seed in _SEEDS]


def predict(boosters: "Sequence[Booster]", panel: Panel, features: Features, horizon: int) -> Matrix:
    """Expected units per day after the panel's end, shape (series, horizon)."""
    # Of a few sales in a year the trees learn when they were, not when the next one comes.
    sold = panel.sold_days()[0][:, None]
    evidence = sold**2 / (sold**2 + _EVIDENCE**2)
    sales = np.empty((len(panel.family), horizon))
    for first in range(0, len(sales), BLOCK):
        block = slice(first, first + BLOCK)
        shape = sales[block].shape
        series = np.repeat(first + np.arange(shape[0]), horizon)
        day = np.tile(panel.days + np.arange(horizon), shape[0])
        rows = features.rows(series, np.full(len(series), panel.days), day)
        known = rows.matrix()
        # LightGBM keeps this number once for all threads: left out, it would change under fits and
        # predictions of other threads, whose buffers are as many.
        each = [np.asarray(booster.predict(known, num_threads=1)) for booster in boosters]
        ratio = np.mean(each, axis=0).reshape(shape)
        ratio = evidence[block] * ratio + 1 - evidence[block]
        sales[block] = ratio * rows.level.reshape(shape)
    sales[features.closed[:, panel.days :]] = 0.0
    return sales


def _boosted(name: str, panel: Panel, horizon: int, *, planned: bool = False) -> Fitted:
    features = Features(panel, horizon, planned=planned)
    boosters = fit(panel, features)
    files = {f"{name}_{n}.txt": each.model_to_string().encode() for n, each in enumerate(boosters, start=1)}
    return Fitted(predict(boosters, panel, features, horizon), files)


def planned(panel: Panel, horizon: int) -> Fitted:
    """Gradient boosting that knows the promotions planned, which Theta does not."""
    return _boosted(PLANNED, panel, horizon, planned=True)


def combination(panel: Panel, horizon: int) -> Fitted:
    """Gradient boosting, and its mean with classical methods at their usual weights."""
    trees, files, _ = _boosted("model", panel, horizon)
    parts = trees, theta(panel, horizon).sales, exponential_smoothing(panel, horizon).sales
    return Fitted(combined(parts, panel, USUAL), files, dict(zip(PARTS, parts, strict=True)))


Candidates = Mapping[str, Forecaster]

CANDIDATES: Candidates = {
    COMBINATION: combination,
    "theta": theta,
    "exponential_smoothing": exponential_smoothing,
    "croston": croston,
}
"""What they forecast, and the parts of it, are to choose from. All forecast a mean: a forecaster of medians
would win by the absolute error where a series seldom sells, with a forecast of 0."""

PLANNED = "planned"  # a further candidate, for sales with promotions planned
