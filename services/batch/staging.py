"""The sales a run works on: a Parquet file in the staging bucket, which does not change under it."""

import hashlib
import io

import polars as pl
from google.api_core.exceptions import NotFound
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from services.batch.errors import BatchError
from services.forecasting.panel import Panel

# One request, and all tries of it.
_TIMEOUT = 20
_RETRY = DEFAULT_RETRY.with_timeout(40.0)


def write_sales(project: str, bucket: str, folder: str, frame: pl.DataFrame) -> str:
    """Upload sales to a file named by its content, which a rerun with late rows leaves as it is.

    Returns:
        The file's `gs://` address.
    """
    parquet = io.BytesIO()
    frame.write_parquet(parquet)
    content = parquet.getvalue()
    return upload(
        project, bucket, f"{folder}/sales-{hashlib.sha256(content).hexdigest()[:12]}.parquet", content
    )


def upload(project: str, bucket: str, name: str, content: bytes) -> str:
    """Put an object into the staging bucket; returns its `gs://` address."""
    blob = storage.Client(project=project).bucket(bucket).blob(name)
    blob.upload_from_string(content, content_type="application/octet-stream", timeout=_TIMEOUT, retry=_RETRY)
    return f"gs://{bucket}/{name}"


def read_sales(project: str, address: str) -> Panel:
    """Sales that `write_sales` uploaded.

    Raises:
        BatchError: there is no such object.
    """
    return Panel.from_frame(pl.read_parquet(io.BytesIO(read(project, address))))


def read(project: str, address: str) -> bytes:
    """A staged object.

    Raises:
        BatchError: there is no such object.
    """
    blob = storage.Blob.from_uri(address, client=storage.Client(project=project))
    try:
        return blob.download_as_bytes(timeout=_TIMEOUT, retry=_RETRY)
    except NotFound:
        raise BatchError(
            f"{address} is absent; files of runs are deleted after some days. Run `extract` again"
        ) from None
