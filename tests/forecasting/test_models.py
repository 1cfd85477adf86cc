"""Models, backtest and intervals: nothing of the future, the same bytes, and better than the naive."""

import datetime
import hashlib
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from services.contracts.model import HISTORY_DAYS, HORIZON_DAYS, LEVELS
from services.forecasting import artifact, backtest, baselines, choice, features, intervals, models, training
from services.forecasting.artifact import Model
from services.forecasting.backtest import HORIZON, Window
from services.forecasting.baselines import seasonal_naive
from services.forecasting.features import Features
from services.forecasting.models import CANDIDATES
from services.forecasting.panel import YEAR, Panel, UnusableSalesError
from tests.conftest import REPOSITORY
from tests.forecasting.conftest import make_sales


def changed_from(panel: Panel, day: int) -> Panel:
    """The same panel with quite different sales and promotions from a day on."""
    assert panel.onpromotion is not None
    sales, promotion = panel.sales.copy(), panel.onpromotion.copy()
    sales[:, day:] = sales[:, day:] * 17 + 1000 * (sales[:, day:] > 0)
    promotion[:, day:] += 9
    return replace(panel, sales=sales, onpromotion=promotion)


# --- no look-ahead -----------------------------------------------------------


@pytest.mark.parametrize("name", [*CANDIDATES, "seasonal_naive"])
def test_what_comes_after_an_origin_never_changes_the_forecast_from_it(panel: Panel, name: str) -> None:
    candidate = {**CANDIDATES, "seasonal_naive": seasonal_naive}[name]
    origins = backtest.origins(panel)
    forecasts = backtest.run(candidate, panel, origins)
    for position, origin in enumerate(origins[:-1]):
        other = backtest.run(candidate, changed_from(panel, origin), origins)
        assert other[position].sales.tobytes() == forecasts[position].sales.tobytes()
        assert other[-1].sales.tobytes() != forecasts[-1].sales.tobytes()


def test_features_know_nothing_after_their_origin(panel: Panel) -> None:
    origin = 120
    series, ahead = (each.ravel() for each in np.mgrid[0:6, 0:HORIZON_DAYS])
    asked = series, np.full_like(series, origin), origin + ahead
    before = Features(panel, 0)
    after = Features(changed_from(panel, origin), 0)
    np.testing.assert_equal(asdict(before.rows(*asked)), asdict(after.rows(*asked)))
    later = series, np.full_like(series, origin + 1), origin + ahead + 1
    changed = before.rows(*later).columns["mean_7"] != after.rows(*later).columns["mean_7"]
    assert changed.any()


def test_features_are_those_of_the_days_before_their_origin(panel: Panel) -> None:
    """The running sums against means written out."""
    features = Features(panel, 0)
    origin, day = np.array([150]), np.array([152])
    for series in range(6):
        who = np.array([series])
        rows = features.rows(who, origin, day)
        values = {name: column[0] for name, column in rows.columns.items()}
        trading = ~features.closed[series, :150] & ~np.isnan(panel.sales[series, :150])
        level = rows.level[0]

        def mean(days: slice, *, row: int = series, counted: NDArray[np.bool_] = trading) -> float:
            return float(panel.sales[row, :150][days][counted[days]].mean())

        assert values["mean_7"] == pytest.approx(mean(slice(143, 150)) / level)
        assert values["mean_112"] == pytest.approx(mean(slice(38, 150)) / level)
        assert values["same_weekday_4"] == pytest.approx(mean(slice(124, 150, 7)) / level)
        assert values["age"] == min(150 - np.isnan(panel.sales[series, :150]).sum(), 112)
        assert values["horizon"] == 2
        assert values["weekday"] == panel.date(152).weekday()
        assert panel.onpromotion is not None
        assert values["promotion_28"] == pytest.approx(np.nanmean(panel.onpromotion[series, 122:150]))


def test_the_day_a_year_ago_against_the_days_before_the_origin_then() -> None:
    panel = Panel.from_frame(make_sales(470))
    features = Features(panel, 0)
    one, origin, day = np.array([3]), np.array([450]), np.array([462])
    ago = features.rows(one, origin, day).columns["day_year_ago"]
    before = panel.sales[3, 450 - YEAR - 56 : 450 - YEAR]
    assert ago == pytest.approx(panel.sales[3, 462 - YEAR] / before[before > 0].mean())


@pytest.mark.parametrize("planned", [True, False])
def test_days_promoted_as_planned(planned: bool) -> None:
    """Of the same weekday in eight weeks; no day after the origin counts."""
    days, origin, day = 200, 172, 180
    promotion = 1.0 * (np.random.default_rng(2).random((6, days + 28)) < 0.4)
    promotion[:, day] = planned
    panel = replace(Panel.from_frame(make_sales(days)), onpromotion=promotion)
    asked = np.array([1]), np.array([origin]), np.array([day])
    rows = Features(panel, 28, planned=True).rows(*asked)
    own, on = panel.sales[1], promotion[1] > 0
    same = np.arange(day - 14 - 7 * 7, origin, 7)
    alike = same[on[same] == planned]
    columns = rows.columns
    assert columns["promotion_planned"] == planned
    assert columns["same_weekday_as_planned_8"] * rows.level == pytest.approx(own[alike].mean())
    last = np.arange(origin - 112, origin)
    last = last[own[last] > 0]
    lift = own[last[on[last]]].mean() / own[last[~on[last]]].mean()
    assert columns["promotion_lift"] == pytest.approx(lift)
    later = replace(panel, sales=np.where(np.arange(days) < origin, 1, 17) * panel.sales)
    np.testing.assert_equal(asdict(Features(later, 28, planned=True).rows(*asked)), asdict(rows))


@pytest.mark.parametrize(("days", "seasons"), [(545, False), (546, True)])
def test_short_sales_tell_nothing_of_seasons_of_the_year(days: int, seasons: bool) -> None:
    one = np.array([0])
    columns = Features(Panel.from_frame(make_sales(days)), 1).rows(one, one + days, one + days).columns
    assert "weekday" in columns
    for name in ("day_of_month", "day_of_year", "days_to_christmas"):
        assert (name in columns) == seasons


# --- the same bytes -----------------------------------------------------------


@pytest.fixture(scope="module")
def folder(panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    training.train(panel, folder)
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Model:
    return artifact.load_model(*artifact.read(folder))


def test_training_again_gives_the_same_bytes(panel: Panel, trained: Model, tmp_path: Path) -> None:
    first, again = trained.manifest, training.train(panel, tmp_path)
    assert msgspec.structs.replace(again, created_at=first.created_at) == first


def test_series_taken_two_at_a_time_give_the_same_bytes(
    panel: Panel, trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (backtest, baselines, features, intervals, models):
        monkeypatch.setattr(module, "BLOCK", 2)
    again = training.train(panel, tmp_path)
    assert msgspec.structs.replace(again, created_at=trained.manifest.created_at) == trained.manifest


def test_fitting_in_one_go_gives_what_is_saved(panel: Panel, trained: Model, tmp_path: Path) -> None:
    """Transient and persistent are the same, also in a process with other hashes."""
    frame = tmp_path / "panel.npz"
    assert panel.onpromotion is not None
    np.savez(frame, sales=panel.sales, onpromotion=panel.onpromotion)
    script = """
import datetime, hashlib, sys
import numpy as np
from services.forecasting import training
from services.forecasting.panel import Panel
with np.load(sys.argv[1]) as arrays:
    first, stores, families = sys.argv[2:]
    panel = Panel(
        datetime.date.fromisoformat(first), tuple(stores.split()), tuple(families.split()), **arrays
    )
fitted = training.fit(panel)
for values in (fitted.forecast.sales, fitted.forecast.lower, fitted.forecast.upper, fitted.history.sales):
    print(hashlib.sha256(values.tobytes()).hexdigest())
for content in fitted.files.values():
    print(hashlib.sha256(content).hexdigest())
print(fitted.forecast.version)
"""
    done = subprocess.run(
        [
            *(sys.executable, "-c", script, frame, panel.first_date.isoformat()),
            *(" ".join(panel.store_nbr), " ".join(panel.family)),
        ],
        cwd=REPOSITORY,
        env={"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2"},
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    served = (trained.forecast.sales, trained.forecast.lower, trained.forecast.upper, trained.history.sales)
    files = trained.manifest.files
    assert done.stdout.split() == [
        *(hashlib.sha256(values.tobytes()).hexdigest() for values in served),
        *(files[name] for name in ("model_1.txt", "model_2.txt", "model_3.txt", "choice.json")),
        trained.manifest.version,
    ]


def test_the_version_follows_from_the_data(panel: Panel, trained: Model) -> None:
    assert trained.manifest.version == training.version_of(panel)
    assert trained.manifest.version.startswith("20220711-")
    assert training.version_of(changed_from(panel, 189)) != trained.manifest.version


# --- the artifact -----------------------------------------------------------


def test_the_forecast_served_is_the_model_s_own(panel: Panel, folder: Path, trained: Model) -> None:
    """Every series and range, by the forecaster chosen for the series and fitted here anew."""
    manifest, forecast = trained.manifest, trained.forecast
    own: dict[str, NDArray[np.float64]] = {}
    for name, make in CANDIDATES.items():
        fitted = make(panel, HORIZON_DAYS)
        own |= {name: fitted.sales, **fitted.parts}
    told = msgspec.json.decode((folder / "choice.json").read_bytes())
    assert sum(told["weights"].values()) == 1
    parts = [own[part] for part in told["weights"]]
    weights = tuple(told["weights"].values())
    own[choice.COMBINATION] = choice.combined(parts, panel.to_learn_from(), weights)
    names: list[str] = []
    for series, (store, family) in enumerate(zip(panel.store_nbr, panel.family, strict=True)):
        name = next(iter(told["others"].get(store, {}).get(family, {told["default"]: 1})))
        names.append(name)
        expected = own[name][series].round(3).tolist()
        for days in range(1, HORIZON_DAYS + 1):
            rows = forecast.rows(days, forecast.select(store_nbr=[store], family=[family]).tolist())
            assert [row.sales for row in rows] == expected[:days]
    assert manifest.backtest.chosen == {name: names.count(name) for name in own}
    assert (forecast.store_nbr, forecast.family) == (panel.store_nbr, panel.family)
    assert forecast.dates[0] == panel.last_date + datetime.timedelta(days=1)
    assert (manifest.horizon, manifest.series) == (60, 6) == (forecast.horizon, len(forecast.family))
    assert manifest.data_fingerprint == panel.fingerprint
    assert (manifest.first_date, manifest.last_date) == (panel.first_date, panel.last_date)


def test_sums_have_intervals_of_their_own(panel: Panel, trained: Model) -> None:
    """Narrower than the sum of the series' intervals, whose errors do not go together."""
    forecast = trained.forecast
    ends = forecast.interval_of_sum(forecast.select())
    assert ends is not None
    lower, upper = ends
    total = forecast.sales.sum(axis=0)
    assert ((lower >= 0) & (lower <= total) & (total <= upper)).all()
    assert (upper - lower).sum() < 0.9 * (forecast.upper - forecast.lower).sum()
    store = forecast.interval_of_sum(forecast.select(store_nbr=["1"]))
    assert store is not None
    assert store[1].mean() < upper.mean()


def test_closed_days_are_forecast_as_such(trained: Model) -> None:
    forecast = trained.forecast
    sunday = np.array([date.weekday() == 6 for date in forecast.dates])
    for values in (forecast.sales, forecast.lower, forecast.upper):
        assert (values[:, sunday] == 0).all()
    assert (forecast.sales[:, ~sunday] > 0).all()
    assert (forecast.upper[:, ~sunday] > forecast.sales[:, ~sunday]).all()


def test_the_model_beats_the_seasonal_naive(trained: Model) -> None:
    report = trained.manifest.backtest
    assert set(report.candidates) == {*CANDIDATES, "gradient_boosting"}
    assert list(report.model) == list(report.seasonal_naive) == list(LEVELS)
    for level, score in report.model.items():
        naive = report.seasonal_naive[level]
        assert score.mase < naive.mase
        assert score.wape < naive.wape
        assert score.rmse < naive.rmse
        assert abs(score.bias or 1) < 0.2
    assert 0.7 < report.coverage < 0.9
    held = report.coverage_by
    assert held is not None
    assert list(held.levels) == list(LEVELS)
    assert held.levels["series"] == report.coverage
    assert list(held.thirds) == ["small", "middle", "large"]
    assert list(held.horizons) == ["1-7", "8-28", "29-60"]


def test_promotions_are_used() -> None:
    """A store that always promotes on Wednesdays, and sells what it promotes."""
    panel = Panel.from_frame(make_sales())
    weekday = np.arange(panel.days) % 7
    random = np.random.default_rng(3)
    promotion = np.zeros_like(panel.sales)
    promotion[:, 2::7] = random.integers(0, 2, (6, promotion[:, 2::7].shape[1])) * 10
    sales = np.where(weekday == 6, 0.0, 10 + promotion)
    promoted = replace(panel, sales=sales, onpromotion=promotion)
    model = models.fit(promoted, Features(promoted, 0))
    unpromoted = replace(promoted, onpromotion=np.zeros_like(promotion))
    known, unknown = (models.predict(model, each, Features(each, 7), 7) for each in (promoted, unpromoted))
    assert not np.allclose(known, unknown)


def test_another_forecaster_is_explained_by_its_error(tmp_path: Path) -> None:
    """One series has no season, no trend and no noise, which Croston's method forecasts without an error."""
    panel = Panel.from_frame(make_sales(300))
    panel.sales[0] = np.where(np.arange(300) % 7 == 6, 0, 20)
    training.train(panel, tmp_path)
    told = msgspec.json.decode((tmp_path / "choice.json").read_bytes())
    assert told["default"] == "combination"
    ((name, error),) = told["others"]["1"]["F00"].items()
    assert name in CANDIDATES
    assert error < 0.8


@pytest.mark.parametrize("helps", [True, False])
def test_planned_promotions_are_used_where_the_backtest_says_so(tmp_path: Path, helps: bool) -> None:
    """Promotions that double sales, without a pattern; and such that do nothing."""
    days, planned = 250, 28
    random = np.random.default_rng(5)
    promotion = 1.0 * (random.random((6, days + planned)) < 0.3)
    sales = random.poisson(40 * (1 + helps * promotion[:, :days])).astype(float)
    panel = Panel.from_frame(make_sales(days))
    panel = replace(panel, sales=sales, onpromotion=promotion)
    manifest = training.train(panel, tmp_path)
    assert manifest.version == training.version_of(panel)
    _, files = artifact.read(tmp_path)
    forecast = artifact.load_model(manifest, files).forecast.sales[:, :planned]
    on = promotion[:, days:] > 0
    lift = forecast[on].mean() / forecast[~on].mean()
    if helps:
        assert lift > 1.6
        assert manifest.planned_until == panel.date(days + planned - 1)
        assert manifest.backtest.chosen["planned"] == 6
    else:
        assert lift == pytest.approx(1, abs=0.1)


def test_the_history_is_the_last_days_of_the_data(panel: Panel, trained: Model) -> None:
    """190 days, the last 180 of them; a series that began on day 60 has no sales before."""
    history = trained.history
    assert len(history.dates) == HISTORY_DAYS
    assert (history.dates[0], history.dates[-1]) == (panel.date(10), panel.last_date)
    np.testing.assert_array_equal(history.sales, panel.sales[:, 10:])
    assert np.isnan(history.sales).sum() == 50


def test_bulk_orders_do_not_lift_the_forecast_of_all_days() -> None:
    """One day in a hundred sells a hundred times the usual: much more in all, and nobody knows when."""
    panel = Panel.from_frame(make_sales(300, promotion=False))
    bulk = np.random.default_rng(11).random(panel.sales.shape) < 0.01
    lifted = replace(panel, sales=np.where(bulk, 100, 1) * panel.sales)
    plain, capped = (
        models.combination(each, 28).sales.sum() for each in (panel.to_learn_from(), lifted.to_learn_from())
    )
    assert lifted.sales.sum() > 1.7 * panel.sales.sum()
    assert capped < 1.3 * plain


# --- scores -----------------------------------------------------------


def test_origins_are_apart_and_end_with_the_data(panel: Panel) -> None:
    assert backtest.origins(panel) == [120, 134, 148, 162]  # fewer than eight: 112 days come first
    whole = Panel.from_frame(make_sales(300))
    assert backtest.origins(whole) == [174, 188, 202, 216, 230, 244, 258, 272]


def test_too_short_data_says_how_much_is_needed() -> None:
    assert len(backtest.origins(Panel.from_frame(make_sales(168)))) == 3
    with pytest.raises(UnusableSalesError, match=r"167 days .* at least 168 are needed"):
        backtest.origins(Panel.from_frame(make_sales(167)))


def test_nothing_sold_is_nothing_to_learn_from() -> None:
    panel = Panel.from_frame(make_sales())
    with pytest.raises(UnusableSalesError, match="no day with sales"):
        models.combination(replace(panel, sales=panel.sales * 0), 28)


def test_scores_written_out(panel: Panel) -> None:
    """MASE, WAPE and RMSE of two windows, computed series by series."""
    windows = [Window(origin, panel.sales[:, origin - 60 : origin] + 1.5) for origin in (134, 162)]
    scores = backtest.scores({"": backtest.errors(windows, panel)}, panel, (134, 162))[""]
    families = np.array(panel.family)
    actual = np.stack([np.nansum(panel.sales[families == name], axis=0) for name in ("F00", "F01", "F02")])
    scaled, errors, sold, expected = [], [], [], []
    for window in windows:
        sales = window.sales[:, :HORIZON]
        forecast = np.stack([sales[families == name].sum(axis=0) for name in ("F00", "F01", "F02")])
        for series in range(3):
            known = actual[series, : window.origin]
            test = actual[series, window.origin : window.origin + HORIZON]
            error = np.abs(test - forecast[series])
            scaled.append(error.mean() / np.abs(known[7:] - known[:-7]).mean())
            errors.extend(error)
            sold.extend(test)
            expected.extend(forecast[series])
    assert scores["family"].mase == pytest.approx(np.mean(scaled))
    assert scores["family"].wape == pytest.approx(np.sum(errors) / np.sum(sold))
    assert scores["family"].bias == pytest.approx(np.sum(expected) / np.sum(sold) - 1)
    assert scores["family"].rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))))


def test_a_perfect_forecast_has_no_error(panel: Panel) -> None:
    windows = [Window(origin, panel.sales[:, origin : origin + HORIZON]) for origin in (134, 162)]
    for score in backtest.scores({"": backtest.errors(windows, panel)}, panel, (134, 162))[""].values():
        assert (score.mase, score.wape, score.rmse, score.bias) == (0, 0, 0, 0)
