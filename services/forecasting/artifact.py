"""A trained version on disk: its forecast, its model, and a manifest with the SHA-256 of both.

Files hold no time stamps and no pickles: the same training gives the same bytes, and reading one runs
no code. The manifest is written last.
"""

import datetime
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from services.contracts.model import MANIFEST_FILE, Backtest, Manifest
from services.forecasting.forecast import Forecast

FORECAST_FILE = "forecast.npz"


class CorruptModelError(Exception):
    """A version's file, or the pointer, is not what it should be."""

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")


def save(
    directory: Path,
    forecast: Forecast,
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
        model_files: the fitted model, name to content.
        created_at: when it was trained, with a time zone.
        code_version: of the training code.
        data_fingerprint: of the training rows.
        first_date: first training day.
        interval: nominal coverage of lower..upper.
        backtest: scores.
    """
    contents = {FORECAST_FILE: _encode(forecast), **model_files}
    manifest = Manifest(
        version=forecast.version,
        created_at=created_at,
        code_version=code_version,
        data_fingerprint=data_fingerprint,
        first_date=first_date,
        last_date=forecast.dates[0] - datetime.timedelta(days=1),
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


def load_forecast(manifest: Manifest, content: bytes) -> Forecast:
    """The forecast in `forecast.npz`, whose content has been verified.

    Raises:
        CorruptModelError: it is not a forecast.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Forecast(
                version=manifest.version,
                dates=tuple(arrays["dates"].tolist()),
                store_nbr=tuple(arrays["store_nbr"].tolist()),
                family=tuple(arrays["family"].tolist()),
                sales=arrays["sales"],
                lower=arrays["lower"],
                upper=arrays["upper"],
            )
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptModelError(f"{manifest.version}/{FORECAST_FILE}", str(error)) from error


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


def _encode(forecast: Forecast) -> bytes:
    # savez stamps every member with 1980-01-01, so that the bytes depend on the values alone.
    buffer = io.BytesIO()
    np.savez(
        buffer,
        dates=np.array(forecast.dates, dtype="datetime64[D]"),
        store_nbr=np.array(forecast.store_nbr),
        family=np.array(forecast.family),
        sales=forecast.sales,
        lower=forecast.lower,
        upper=forecast.upper,
    )
    return buffer.getvalue()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
