"""A version on disk: what is written is what is read, and nothing else is."""

import datetime
import io
import random
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from services.contracts.model import Accuracy, Backtest, Manifest
from services.forecasting import artifact
from services.forecasting.artifact import CorruptModelError
from services.forecasting.forecast import History
from tests.conftest import REPOSITORY
from tests.forecasting.test_forecast import FORECAST

HISTORY = History(
    tuple(FORECAST.dates[0] - datetime.timedelta(days=day) for day in (3, 2, 1)),
    np.array([[1, 2, 3], [np.nan, np.nan, 0], [4, 5, 69959.97]]),
)
SCORES = {"total": Accuracy(mase=0.5, wape=0.25, rmse=3.0)}


def save(folder: Path) -> Manifest:
    manifest = Manifest(
        version=FORECAST.version,
        created_at=datetime.datetime.now(datetime.UTC),
        code_version="c",
        data_fingerprint="d",
        first_date=datetime.date(2024, 1, 1),
        last_date=datetime.date(2024, 2, 27),
        series=3,
        horizon=4,
        interval=0.8,
        backtest=Backtest(
            28, [datetime.date(2024, 1, 2)], SCORES, SCORES, {"theta": SCORES}, {"theta": 3}, "nothing", 0.79
        ),
        files={},
    )
    return artifact.save(folder, manifest, FORECAST, HISTORY, {"model.txt": b"tree"})


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    saved = save(tmp_path)
    manifest, files = artifact.read(tmp_path)
    model = artifact.load_model(manifest, files)
    forecast = model.forecast
    assert model.manifest == manifest == saved
    assert files["model.txt"] == b"tree"
    assert forecast.rows(4, forecast.select().tolist()) == FORECAST.rows(4, [0, 1, 2])
    assert forecast.version == FORECAST.version
    for level, ends in FORECAST.sums.items():
        np.testing.assert_array_equal(forecast.sums[level], ends)
    assert model.history.dates == HISTORY.dates
    np.testing.assert_array_equal(model.history.sales, HISTORY.sales)
    assert model.history.sales.dtype == np.float64


def test_same_forecast_same_bytes(tmp_path: Path) -> None:
    assert save(tmp_path / "a").files == save(tmp_path / "b").files


@pytest.mark.parametrize("name", ["forecast.npz", "history.npz", "model.txt"])
def test_any_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    for position in random.Random(1).sample(range(len(whole)), min(20, len(whole))):
        (tmp_path / name).write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CorruptModelError, match=rf"v1/{name}: SHA-256 is \w{{64}}, the manifest says"):
            artifact.read(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "forecast.npz", "history.npz", "model.txt"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CorruptModelError, match=f"{name}: missing"):
        artifact.read(tmp_path)


def test_a_truncated_manifest_is_none(tmp_path: Path) -> None:
    save(tmp_path)
    content = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(CorruptModelError, match=r"manifest\.json"):
        artifact.load_manifest(content[:-20])


def encoded(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["forecast.npz", "history.npz"])
def test_pickles_and_other_arrays_are_refused(tmp_path: Path, name: str) -> None:
    save(tmp_path)
    manifest, files = artifact.read(tmp_path)
    for content in (encoded(dates=np.array([object()])), encoded(sales=np.ones(2)), b"not a zip file"):
        with pytest.raises(CorruptModelError, match=f"v1/{name}"):
            artifact.load_model(manifest, files | {name: content})


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("forecast.npz", {"lower": FORECAST.upper + 1}, "lower <= sales"),
        ("history.npz", {"sales": -HISTORY.sales}, "sales must be >= 0"),
        ("history.npz", {"sales": HISTORY.sales[:, :2]}, "must be float64 of 3 days"),
        ("history.npz", {"sales": HISTORY.sales[:2]}, "has 2 series, the forecast 3"),
        ("history.npz", {"dates": np.array(HISTORY.dates, "datetime64[D]") + 1}, "the forecast begins on"),
        ("history.npz", {"dates": np.array(HISTORY.dates, "datetime64[D]")[::-1]}, "must be consecutive"),
    ],
)
def test_what_breaks_its_rules_is_refused(
    tmp_path: Path, name: str, change: dict[str, NDArray[Any]], problem: str
) -> None:
    save(tmp_path)
    manifest, files = artifact.read(tmp_path)
    with np.load(tmp_path / name) as arrays:
        broken = encoded(**dict(arrays) | change)
    with pytest.raises(CorruptModelError, match=f"v1/{name}: .*{problem}"):
        artifact.load_model(manifest, files | {name: broken})


def test_manifest_is_readable_json(tmp_path: Path) -> None:
    manifest = save(tmp_path)
    assert msgspec.json.decode((tmp_path / "manifest.json").read_bytes(), type=Manifest) == manifest


def test_services_need_no_training_library() -> None:
    python = REPOSITORY / "build" / "venvs" / "prediction" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is absent: run `make install`")
    modules = (
        "services.forecasting.forecast, services.forecasting.artifact, services.forecasting.model_registry"
    )
    subprocess.run([python, "-c", f"import {modules}"], cwd=REPOSITORY, check=True, timeout=600)
