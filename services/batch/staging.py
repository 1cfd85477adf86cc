"""Files of a run in the staging bucket, such as its sales, which do not change under it."""

import hashlib
import io
from typing import Final

import polars as pl
from google.api_core.exceptions import NotFound
from google.cloud import storage
from google.cloud.storage.fileio import BlobWriter
from google.cloud.storage.retry import DEFAULT_RETRY

from services.batch.errors import BatchError
from services.forecasting.panel import Panel

# One request, and all tries of it.
_TIMEOUT: Final = 20
_RETRY: Final = DEFAULT_RETRY.with_timeout(40.0)
_PIECE_BYTES: Final = 8 << 20


def write_sales(project: str, folder: str, frame: pl.DataFrame) -> str:
    """Upload sales to a file named by its content, which a rerun leaves as it is; returns its address."""
    parquet = io.BytesIO()
    frame.write_parquet(parquet)
    content = parquet.getvalue()
    address = f"{folder}/sales-{hashlib.sha256(content).hexdigest()[:12]}.parquet"
    upload(project, address, content)
    return address


def upload(project: str, address: str, content: bytes) -> None:
    """Put an object into the staging bucket."""
    _blob(project, address).upload_from_string(
        content, content_type="application/octet-stream", timeout=_TIMEOUT, retry=_RETRY
    )


def create(project: str, address: str) -> BlobWriter:
    """A file whose content goes into a new object piece by piece, and is there once it is closed."""
    return BlobWriter(
        _blob(project, address), _PIECE_BYTES, ignore_flush=True, timeout=_TIMEOUT, retry=_RETRY
    )


def read_sales(project: str, address: str) -> Panel:
    """Sales that `write_sales` uploaded. Raises BatchError if there is no such object."""
    return Panel.from_frame(pl.read_parquet(io.BytesIO(read(project, address))))


def read(project: str, address: str) -> bytes:
    """A staged object. Raises BatchError if there is none."""
    try:
        return _blob(project, address).download_as_bytes(timeout=_TIMEOUT, retry=_RETRY)
    except NotFound:
        raise BatchError(
            f"{address} is absent; files of runs are deleted after some days. Run `extract` again"
        ) from None


def _blob(project: str, address: str) -> storage.Blob:
    return storage.Blob.from_uri(address, client=storage.Client(project=project))
