"""A trained version on disk: forecast, history, fitted model, and a manifest with the SHA-256 of each.

Files contain no time stamps and no pickles, so the same training gives the same bytes and reading a file
runs no code. The manifest is written last. Whatever is damaged or missing raises CorruptModelError.
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

from services.contracts.model import LEVELS, MANIFEST_FILE, Manifest
from services.forecasting.forecast import Forecast, History

FORECAST_FILE = "forecast.npz"
HISTORY_FILE = "history.npz"
SERVED_FILES = (FORECAST_FILE, HISTORY_FILE)  # those that services load; the others are for people


class CorruptModelError(Exception):
    """A file of a version, or the pointer, is damaged or missing: its name, and what is wrong."""

    def __str__(self) -> str:
        return ": ".join(self.args)


@dataclass(frozen=True, eq=False)
class Model:
    """A version as services serve it; forecast and history have the same series in the same order."""

    manifest: Manifest
    forecast: Forecast
    history: History


def save(
    directory: Path, manifest: Manifest, forecast: Forecast, history: History, files: Mapping[str, bytes]
) -> Manifest:
    """Write a version into `directory`, which is created if absent; returns the manifest with its files."""
    sums: dict[str, NDArray[np.float64]] = {}
    for level, (lower, upper) in forecast.sums.items():
        sums |= {f"lower_{level}": lower, f"upper_{level}": upper}
    contents = {
        FORECAST_FILE: encode(
            dates=np.array(forecast.dates, dtype="datetime64[D]"),
            store_nbr=np.array(forecast.store_nbr),
            family=np.array(forecast.family),
            sales=forecast.sales,
            lower=forecast.lower,
            upper=forecast.upper,
            **sums,
        ),
        HISTORY_FILE: encode(dates=np.array(history.dates, dtype="datetime64[D]"), sales=history.sales),
        **files,
    }
    manifest = msgspec.structs.replace(
        manifest, files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    )
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    (directory / MANIFEST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return manifest


def read(directory: Path) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of a saved version, and the content of each file, checked against the manifest."""
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
    """Decode `manifest.json`."""
    with corrupt(MANIFEST_FILE):
        return msgspec.json.decode(content, type=Manifest)


def load_model(manifest: Manifest, files: Mapping[str, bytes]) -> Model:
    """Decode the SERVED_FILES of a version, whose SHA-256 is verified already."""
    with corrupt(f"{manifest.version}/{FORECAST_FILE}"):
        arrays = decode(files[FORECAST_FILE])
        forecast = Forecast(
            version=manifest.version,
            dates=tuple(arrays["dates"].tolist()),
            store_nbr=tuple(arrays["store_nbr"].tolist()),
            family=tuple(arrays["family"].tolist()),
            sales=arrays["sales"],
            lower=arrays["lower"],
            upper=arrays["upper"],
            sums={
                level: (arrays[f"lower_{level}"], arrays[f"upper_{level}"])
                for level in LEVELS
                if f"lower_{level}" in arrays
            },
        )
    with corrupt(f"{manifest.version}/{HISTORY_FILE}"):
        arrays = decode(files[HISTORY_FILE])
        history = History(tuple(arrays["dates"].tolist()), arrays["sales"].astype(np.float64, copy=False))
        if len(history.sales) != len(forecast.sales):
            raise ValueError(f"has {len(history.sales)} series, the forecast {len(forecast.sales)}")
        if history.dates[-1] + datetime.timedelta(days=1) != forecast.dates[0]:
            raise ValueError(f"ends on {history.dates[-1]}, the forecast begins on {forecast.dates[0]}")
    return Model(manifest, forecast, history)


@contextmanager
def corrupt(name: str) -> Generator[None]:
    """Turn errors of decoding a file into CorruptModelError."""
    try:
        yield
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        raise CorruptModelError(name, str(error)) from error


def verify(manifest: Manifest, name: str, content: bytes) -> None:
    """Check a file's SHA-256."""
    expected, actual = manifest.files.get(name), hashlib.sha256(content).hexdigest()
    if expected != actual:
        problem = f"SHA-256 is {actual}, the manifest says {expected}"
        raise CorruptModelError(f"{manifest.version}/{name}", problem)


def encode(**arrays: NDArray[Any]) -> bytes:
    """The content of an .npz file: bytes that depend on the values alone."""
    # savez stamps every member with 1980-01-01.
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def decode(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)
