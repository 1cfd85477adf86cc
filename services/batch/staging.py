"""Files of a run in the staging bucket: its sales, which do not change under it, and groups to learn from."""

import hashlib
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from google.api_core.exceptions import NotFound
from google.cloud import storage
from google.cloud.storage.fileio import BlobWriter
from google.cloud.storage.retry import DEFAULT_RETRY

from services.batch.errors import BatchError
from services.forecasting import artifact
from services.forecasting.learning import Learned
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
    try:
        return _blob(project, address).download_as_bytes(timeout=_TIMEOUT, retry=_RETRY)
    except NotFound:
        raise BatchError(
            f"{address} is absent; files of runs are deleted after some days. Run `extract` again"
        ) from None


def write_groups(project: str, folder: str, groups: Sequence[Panel]) -> list[str]:
    """Upload what is learned from, a file for each group; returns their addresses."""
    addresses = [f"{folder}/{number}.npz" for number in range(1, len(groups) + 1)]
    for address, group in zip(addresses, groups, strict=True):
        upload(project, address, _encode(group))
    return addresses


def read_group(project: str, address: str) -> Panel:
    """What `write_groups` uploaded."""
    arrays = artifact.decode(read(project, address))
    return Panel(
        first_date=arrays["first_date"].item(),
        store_nbr=tuple(arrays["store_nbr"].tolist()),
        family=tuple(arrays["family"].tolist()),
        sales=arrays["sales"],
        onpromotion=arrays.get("onpromotion"),
    )


def write_learned(project: str, address: str, learned: Learned) -> None:
    """Upload what was learned from the group at an address, beside it; the same bytes when repeated."""
    upload(project, address.removesuffix(".npz") + "-learned.npz", learned.encode())


def read_learned(project: str, folder: str, groups: int) -> list[Learned]:
    """What was learned from each of the groups in a folder.

    Raises:
        BatchError: nothing was learned from one of them.
    """
    return [
        Learned.decode(read(project, f"{folder}/{number}-learned.npz")) for number in range(1, groups + 1)
    ]


def _blob(project: str, address: str) -> storage.Blob:
    return storage.Blob.from_uri(address, client=storage.Client(project=project))


def _encode(panel: Panel) -> bytes:
    arrays = {} if panel.onpromotion is None else {"onpromotion": panel.onpromotion}
    return artifact.encode(
        first_date=np.array(panel.first_date, dtype="datetime64[D]"),
        store_nbr=np.array(panel.store_nbr),
        family=np.array(panel.family),
        sales=panel.sales,
        **arrays,
    )
