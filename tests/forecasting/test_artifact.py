"""A version on disk: what is written is what is read, and nothing else is."""

import datetime
import io
import random
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from services.contracts.model import Backtest, Manifest, Score
from services.forecasting import artifact
from services.forecasting.artifact import CorruptModelError
from tests.conftest import REPOSITORY
from tests.forecasting.test_forecast import FORECAST

SCORES = {"total": Score(mase=0.5, wape=0.25, rmse=3.0)}


def save(folder: Path) -> Manifest:
    return artifact.save(
        folder,
        FORECAST,
        {"model.txt": b"tree"},
        created_at=datetime.datetime.now(datetime.UTC),
        code_version="c",
        data_fingerprint="d",
        first_date=datetime.date(2024, 1, 1),
        interval=0.8,
        backtest=Backtest(28, [datetime.date(2024, 1, 2)], SCORES, SCORES, 0.79),
    )


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    saved = save(tmp_path)
    manifest, files = artifact.read(tmp_path)
    forecast = artifact.load_forecast(manifest, files["forecast.npz"])
    assert manifest == saved
    assert (manifest.last_date, manifest.horizon, manifest.series) == (datetime.date(2024, 2, 27), 4, 3)
    assert files["model.txt"] == b"tree"
    assert forecast.rows(4, forecast.select().tolist()) == FORECAST.rows(4, [0, 1, 2])
    assert forecast.version == FORECAST.version


def test_same_forecast_same_bytes(tmp_path: Path) -> None:
    assert save(tmp_path / "a").files == save(tmp_path / "b").files


@pytest.mark.parametrize("name", ["forecast.npz", "model.txt"])
def test_any_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    for position in random.Random(1).sample(range(len(whole)), min(20, len(whole))):
        (tmp_path / name).write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CorruptModelError, match=rf"v1/{name}: SHA-256 is \w{{64}}, the manifest says"):
            artifact.read(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "forecast.npz", "model.txt"])
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


def test_pickles_and_other_arrays_are_refused(tmp_path: Path) -> None:
    manifest = save(tmp_path)
    for arrays in ({"dates": np.array([object()])}, {"sales": np.ones(2)}):
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=True, **arrays)
        with pytest.raises(CorruptModelError, match=r"v1/forecast\.npz"):
            artifact.load_forecast(manifest, buffer.getvalue())
    with pytest.raises(CorruptModelError, match=r"v1/forecast\.npz"):
        artifact.load_forecast(manifest, b"not a zip file")


def test_a_forecast_that_breaks_its_rules_is_refused(tmp_path: Path) -> None:
    manifest = save(tmp_path)
    with np.load(tmp_path / "forecast.npz") as arrays:
        broken = dict(arrays) | {"lower": arrays["upper"] + 1}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **broken)
    with pytest.raises(CorruptModelError, match="lower <= sales"):
        artifact.load_forecast(manifest, buffer.getvalue())


def test_manifest_is_readable_json(tmp_path: Path) -> None:
    manifest = save(tmp_path)
    assert msgspec.json.decode((tmp_path / "manifest.json").read_bytes(), type=Manifest) == manifest


def test_services_need_no_training_library() -> None:
    python = REPOSITORY / "build" / "venvs" / "prediction" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is absent: run `make install`")
    modules = "services.forecasting.forecast, services.forecasting.artifact, services.forecasting.registry"
    subprocess.run([python, "-c", f"import {modules}"], cwd=REPOSITORY, check=True, timeout=60)
