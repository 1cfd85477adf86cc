"""The BigQuery table of predictions, written with the Storage Write API.

Compared with a BigQuery subscription it saves a topic of rows; it costs half of `insertAll`
(https://cloud.google.com/bigquery/pricing#data_ingestion_pricing); rows are serialized once per model; and
offsets make a repeated append safe: if only BigQuery's response was lost, nothing is written twice. Rows do
repeat after a restart, or when Pub/Sub redelivers a message; the view of the latest predictions drops those.
"""

import asyncio
import collections
import logging
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

import grpc.aio
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteAsyncClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcAsyncIOTransport,
)
from google.rpc import code_pb2

from services.streaming.channels import transport
from services.streaming.rows import PREDICTION

_log = logging.getLogger(__name__)

APPEND_BYTES: Final = 2_000_000
"""Of one append: large enough to make its overhead negligible, small enough for the emulator to write in
seconds. The limit is 10 MB: https://cloud.google.com/bigquery/quotas#write-api-limits"""
ROW_OVERHEAD_BYTES: Final = 8  # tag and length around a row
_APPEND_SECONDS: Final = 30.0
_ATTEMPTS: Final = 4
_INITIAL_BACKOFF_SECONDS: Final = 0.2

# After these the same rows are sent again with the same offset: either they or the response did not arrive.
_AMBIGUOUS: Final = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.Aborted,
    exceptions.Cancelled,
    exceptions.InternalServerError,
    exceptions.Unknown,
    TimeoutError,
)
# The stream is of no more use: BigQuery has deleted or finalized it, or expects another offset.
_STREAM_LOST: Final = (exceptions.NotFound, exceptions.FailedPrecondition, exceptions.OutOfRange)


class AppendError(Exception):
    """BigQuery refused rows, and saved no row of the call."""


class _WaitingAppend(NamedTuple):
    """Rows to be written; `written` is done when they are."""

    rows: Sequence[bytes]
    written: "asyncio.Future[None]"


def _client() -> BigQueryWriteAsyncClient:
    """A client of BigQuery, or of the emulator at BIGQUERY_STORAGE_EMULATOR_HOST."""
    emulator = os.environ.get("BIGQUERY_STORAGE_EMULATOR_HOST")
    # Without a subchannel of its own, a new channel would use the connection of the one before.
    own = (("grpc.use_local_subchannel_pool", 1),)
    return BigQueryWriteAsyncClient(transport=transport(BigQueryWriteGrpcAsyncIOTransport, emulator, own))


class _Connection:
    """An open append call on one stream, with one request at a time."""

    def __init__(self, client: BigQueryWriteAsyncClient, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._requests: asyncio.Queue[Any] = asyncio.Queue(1)
        self._responses: Any = None

    async def append(self, rows: Sequence[bytes], offset: int) -> Any:
        """Append rows; returns google.cloud.bigquery.storage.v1.AppendRowsResponse."""
        # Only the first request needs stream and schema, but the emulator requires the stream in each.
        request = types.AppendRowsRequest.pb()(write_stream=self._stream)
        request.offset.value = offset
        request.proto_rows.writer_schema.proto_descriptor.CopyFrom(PREDICTION.descriptor)
        request.proto_rows.rows.serialized_rows.extend(rows)
        await self._requests.put(types.AppendRowsRequest.wrap(request))
        if self._responses is None:
            self._responses = await self._client.append_rows(
                self._sent(),
                timeout=None,
                retry=None,
                metadata=(("x-goog-request-params", f"write_stream={self._stream}"),),
            )
        response = await asyncio.wait_for(self._responses.read(), _APPEND_SECONDS)
        if response is grpc.aio.EOF:  # pyright: ignore[reportAttributeAccessIssue]
            raise exceptions.ServiceUnavailable("BigQuery closed the stream")
        return types.AppendRowsResponse.pb(response)

    async def _sent(self) -> AsyncIterator[Any]:
        while (request := await self._requests.get()) is not None:
            yield request

    def close(self) -> None:
        """Cancel the call."""
        if self._responses is not None:
            self._responses.cancel()


class PredictionsTable:
    """Appends rows to the table, through a stream that only this process writes.

    Appends that are requested while one is in flight are joined in the next one.

    Args:
        name: `project.dataset.table`.
    """

    def __init__(self, name: str) -> None:
        project, dataset, table = name.split(".")
        self._parent = f"projects/{project}/datasets/{dataset}/tables/{table}"
        self._client: BigQueryWriteAsyncClient | None = None
        self._stream: str | None = None
        self._connection: _Connection | None = None
        self._offset = 0
        self._waiting: collections.deque[_WaitingAppend] = collections.deque()
        self._writer: asyncio.Task[None] | None = None

    async def append(self, rows: Sequence[bytes]) -> None:
        """Save serialized rows; they are durable when this returns.

        Raises:
            AppendError: BigQuery refused them.
            google.api_core.exceptions.GoogleAPIError: BigQuery cannot be reached, or has no such table.
            TimeoutError: BigQuery does not answer.
        """
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(_WaitingAppend(rows, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await written

    async def close(self) -> None:
        """Close the connection; no append may be waiting."""
        self._disconnect()
        await self._drop_client()

    async def _write(self) -> None:
        """Write waiting appends, request by request."""
        while self._waiting:
            appends = [self._waiting.popleft()]
            size = _size(appends[0].rows)
            while self._waiting and size + _size(self._waiting[0].rows) <= APPEND_BYTES:
                size += _size(self._waiting[0].rows)
                appends.append(self._waiting.popleft())
            try:
                await self._append_with_retries([row for each in appends for row in each.rows])
            except Exception as error:  # of any kind: the callers of `append` get it
                for each in appends:
                    if not each.written.done():
                        each.written.set_exception(error)
            else:
                for each in appends:
                    if not each.written.done():
                        each.written.set_result(None)

    async def _append_with_retries(self, rows: Sequence[bytes]) -> None:
        for attempt in range(_ATTEMPTS):
            last = attempt == _ATTEMPTS - 1
            try:
                await self._append(rows)
                return
            except _AMBIGUOUS as error:
                if last:
                    # Whether these rows arrived is unknown: the next ones start a new stream. The channel
                    # may be what fails, so they start one of these, too.
                    self._drop_stream()
                    await self._drop_client()
                    raise
                _log.warning("append: %s: %s; retrying", type(error).__name__, error)
                self._disconnect()
            except _STREAM_LOST:
                self._drop_stream()
                if last:
                    raise
            except Exception:
                # Nothing was written, for want of quota or permission, say, or because a row is refused. The
                # stream stays valid at this offset: a new one for each failure would use up their quota.
                self._disconnect()
                raise
            await asyncio.sleep(_INITIAL_BACKOFF_SECONDS * 2**attempt)

    async def _append(self, rows: Sequence[bytes]) -> None:
        if self._client is None:
            self._client = _client()
        if self._stream is None:
            committed = types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
            stream = await self._client.create_write_stream(
                parent=self._parent, write_stream=committed, retry=None, timeout=_APPEND_SECONDS
            )
            self._stream, self._offset = stream.name, 0
        if self._connection is None:
            self._connection = _Connection(self._client, self._stream)
        response = await self._connection.append(rows, self._offset)
        # ALREADY_EXISTS: only the response to the previous attempt was lost, not the rows.
        if response.HasField("error") and response.error.code != code_pb2.ALREADY_EXISTS:
            if response.row_errors:
                raise AppendError(f"{self._parent}: {response.row_errors[0].message}")
            raise exceptions.from_grpc_status(response.error.code, response.error.message)
        self._offset += len(rows)

    async def _drop_client(self) -> None:
        if self._client is not None:
            await self._client.transport.close()
            self._client = None

    def _drop_stream(self) -> None:
        self._disconnect()
        self._stream = None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _size(rows: Sequence[bytes]) -> int:
    return sum(map(len, rows)) + ROW_OVERHEAD_BYTES * len(rows)
