"""A trained version on disk: forecast, history, fitted model, and a manifest with the SHA-256 of each.

Files hold no time stamps and no pickles: the same training gives the same bytes, and reading one runs
no code. The manifest is written last.
"""

import datetime
import hashlib
import io
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.contracts.model import MANIFEST_FILE, Backtest, Manifest
from services.forecasting.forecast import Forecast
from services.forecasting.history import History

FORECAST_FILE = "forecast.npz"
HISTORY_FILE = "history.npz"
SERVED_FILES = (FORECAST_FILE, HISTORY_FILE)
"""What services load; the rest of a version is for people and for training."""


class CorruptModelError(Exception):
    """A version's file, or the pointer, is not what it should be."""

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")


@dataclass(frozen=True, eq=False)
class Model:
    """A version as services serve it.

    Attributes:
        manifest: what it is and how well it did.
        forecast: what it expects.
        history: what was sold before, the same series in the same order.
    """

    manifest: Manifest
    forecast: Forecast
    history: History


def save(
    directory: Path,
    forecast: Forecast,
    history: History,
    model_files: Mapping[str, bytes],
    *,
    created_at: datetime.datetime,
    code_version: str,
    data_fingerprint: str,
    first_date: datetime.date,
    interval: float,
    backtest: Backtest,
) -> Manifest:
    """Write a version into `directory`, which is created if absent.

    Args:
        directory: where to.
        forecast: what services serve.
        history: what was sold until the day before it.
        model_files: the fitted model, name to content.
        created_at: when it was trained, with a time zone.
        code_version: of the training code.
        data_fingerprint: of the training rows.
        first_date: first training day.
        interval: nominal coverage of lower..upper.
        backtest: scores.
    """
    contents = {
        FORECAST_FILE: _encode(
            dates=np.array(forecast.dates, dtype="datetime64[D]"),
            store_nbr=np.array(forecast.store_nbr),
            family=np.array(forecast.family),
            sales=forecast.sales,
            lower=forecast.lower,
            upper=forecast.upper,
        ),
        HISTORY_FILE: _encode(dates=np.array(history.dates, dtype="datetime64[D]"), sales=history.sales),
        **model_files,
    }
    manifest = Manifest(
        version=forecast.version,
        created_at=created_at,
        code_version=code_version,
        data_fingerprint=data_fingerprint,
        first_date=first_date,
        last_date=history.dates[-1],
        series=len(forecast.family),
        horizon=forecast.horizon,
        interval=interval,
        backtest=backtest,
        files={name: _sha256(content) for name, content in contents.items()},
    )
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    (directory / MANIFEST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return manifest


def read(directory: Path) -> tuple[Manifest, dict[str, bytes]]:
    """A saved version: its manifest, and every file's content by name, checked against it.

    Raises:
        CorruptModelError: a file is missing or differs.
    """
    try:
        files = {MANIFEST_FILE: (directory / MANIFEST_FILE).read_bytes()}
        manifest = load_manifest(files[MANIFEST_FILE])
        files |= {name: (directory / name).read_bytes() for name in manifest.files}
    except FileNotFoundError as error:
        raise CorruptModelError(str(error.filename), "missing") from None
    for name in manifest.files:
        verify(manifest, name, files[name])
    return manifest, files


def load_manifest(content: bytes) -> Manifest:
    """The manifest in `manifest.json`.

    Raises:
        CorruptModelError: it is not a manifest.
    """
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise CorruptModelError(MANIFEST_FILE, str(error)) from None


def load_model(manifest: Manifest, files: Mapping[str, bytes]) -> Model:
    """The version as services serve it.

    Args:
        manifest: of the version.
        files: name to verified content, SERVED_FILES among them.

    Raises:
        CorruptModelError: a file does not hold what its name says.
    """
    with _corrupt(f"{manifest.version}/{FORECAST_FILE}"):
        arrays = _decode(files[FORECAST_FILE])
        forecast = Forecast(
            version=manifest.version,
            dates=tuple(arrays["dates"].tolist()),
            store_nbr=tuple(arrays["store_nbr"].tolist()),
            family=tuple(arrays["family"].tolist()),
            sales=arrays["sales"],
            lower=arrays["lower"],
            upper=arrays["upper"],
        )
    with _corrupt(f"{manifest.version}/{HISTORY_FILE}"):
        arrays = _decode(files[HISTORY_FILE])
        history = History(dates=tuple(arrays["dates"].tolist()), sales=arrays["sales"])
        if len(history.sales) != len(forecast.sales):
            raise ValueError(f"has {len(history.sales)} series, the forecast {len(forecast.sales)}")
        if history.dates[-1] + datetime.timedelta(days=1) != forecast.dates[0]:
            raise ValueError(f"ends on {history.dates[-1]}, the forecast begins on {forecast.dates[0]}")
    return Model(manifest, forecast, history)


@contextmanager
def _corrupt(name: str) -> Generator[None]:
    """What goes wrong while a file is decoded is a fault of the file."""
    try:
        yield
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptModelError(name, str(error)) from error


def verify(manifest: Manifest, name: str, content: bytes) -> None:
    """Check a file's content against the manifest.

    Raises:
        CorruptModelError: its SHA-256 is another, or the manifest does not have it.
    """
    expected, actual = manifest.files.get(name), _sha256(content)
    if expected != actual:
        raise CorruptModelError(
            f"{manifest.version}/{name}", f"SHA-256 is {actual}, the manifest says {expected}"
        )


def _encode(**arrays: NDArray[Any]) -> bytes:
    # savez stamps every member with 1980-01-01, so that the bytes depend on the values alone.
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _decode(content: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
