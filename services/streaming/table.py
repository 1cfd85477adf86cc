"""The BigQuery table of predictions, by the Storage Write API.

Why this and not a BigQuery subscription or `insertAll`: one hop less than a topic of rows would be, half the
price of `insertAll` (https://cloud.google.com/bigquery/pricing#data_ingestion_pricing), a binary form that is
prepared once per model, and offsets, by which a repeated append is recognized: what was lost is an answer of
BigQuery's, not the rows, and nothing is written twice. After a restart, or when Pub/Sub delivers a message
again, rows do repeat; the view of the latest predictions drops those.
"""

import asyncio
import collections
import logging
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

import grpc.aio
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteAsyncClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcAsyncIOTransport,
)
from google.rpc import code_pb2

from services.streaming.pubsub import emulator_options
from services.streaming.rows import DESCRIPTOR

_log = logging.getLogger(__name__)

APPEND_BYTES: Final = 2_000_000
"""Of one append: large enough for its overhead not to count, small enough for the emulator to take in
seconds. The limit is 10 MB: https://cloud.google.com/bigquery/quotas#write-api-limits"""
ROW_OVERHEAD_BYTES: Final = 8  # tag and length around a row
_APPEND_SECONDS: Final = 30.0
_ATTEMPTS: Final = 4
_FIRST_PAUSE_SECONDS: Final = 0.2

# After these the same rows at the same offset are sent again: they did not arrive, or the answer did not.
_AMBIGUOUS: Final = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.Aborted,
    exceptions.Cancelled,
    exceptions.InternalServerError,
    TimeoutError,
)


class AppendError(Exception):
    """BigQuery refused rows; none of the call's rows was saved."""


class _Append(NamedTuple):
    """Rows that wait to be written, and who waits for them."""

    rows: Sequence[bytes]
    written: "asyncio.Future[None]"


def _client() -> BigQueryWriteAsyncClient:
    """A client of BigQuery, or of the emulator BIGQUERY_STORAGE_EMULATOR_HOST names."""
    emulator = os.environ.get("BIGQUERY_STORAGE_EMULATOR_HOST")
    if emulator is None:
        return BigQueryWriteAsyncClient()
    channel = grpc.aio.insecure_channel(emulator, options=emulator_options())
    transport = BigQueryWriteGrpcAsyncIOTransport(credentials=AnonymousCredentials(), channel=channel)
    return BigQueryWriteAsyncClient(transport=transport)


class _Connection:
    """An open append call on one stream: a request, then its response."""

    def __init__(self, client: BigQueryWriteAsyncClient, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._requests: asyncio.Queue[Any] = asyncio.Queue(1)
        self._responses: Any = None

    async def append(self, rows: Sequence[bytes], offset: int) -> Any:
        """Append rows; returns google.cloud.bigquery.storage.v1.AppendRowsResponse."""
        # The first request tells stream and schema. Repeating them in the others is allowed; the emulator
        # insists on the stream.
        request = types.AppendRowsRequest.pb()(write_stream=self._stream)
        request.offset.value = offset
        request.proto_rows.writer_schema.proto_descriptor.CopyFrom(DESCRIPTOR)
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
        """Give the call up, whatever is under way."""
        if self._responses is not None:
            self._responses.cancel()


class PredictionsTable:
    """Appends rows to the table, through a stream of this process's own.

    Appends that come while one is under way are joined in the next request.

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
        self._waiting: collections.deque[_Append] = collections.deque()
        self._writer: asyncio.Task[None] | None = None

    async def append(self, rows: Sequence[bytes]) -> None:
        """Save rows of `rows.DESCRIPTOR`; they are durable when this returns.

        Raises:
            AppendError: BigQuery refused them.
            google.api_core.exceptions.GoogleAPIError: BigQuery cannot be reached, or has no such table.
            TimeoutError: BigQuery does not answer.
        """
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(_Append(rows, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await written

    async def close(self) -> None:
        """Let the stream go; nothing may be waiting."""
        if self._connection is not None:
            self._connection.close()
        if self._client is not None:
            await self._client.transport.close()

    async def _write(self) -> None:
        """Write what waits, request by request."""
        while self._waiting:
            batch = [self._waiting.popleft()]
            size = _size(batch[0].rows)
            while self._waiting and size + _size(self._waiting[0].rows) <= APPEND_BYTES:
                size += _size(self._waiting[0].rows)
                batch.append(self._waiting.popleft())
            try:
                await self._persist([row for each in batch for row in each.rows])
            except Exception as error:  # of any kind: it is those who wait that must know
                for each in batch:
                    if not each.written.done():
                        each.written.set_exception(error)
            else:
                for each in batch:
                    if not each.written.done():
                        each.written.set_result(None)

    async def _persist(self, rows: Sequence[bytes]) -> None:
        for attempt in range(_ATTEMPTS):
            last = attempt == _ATTEMPTS - 1
            try:
                await self._append(rows)
                return
            except _AMBIGUOUS as error:
                if last:
                    # Whether these rows arrived will never be known: the next ones begin a stream.
                    self._forget()
                    raise
                _log.warning("append: %s: %s; again", type(error).__name__, error)
                self._disconnect()
            except exceptions.NotFound:
                self._forget()  # streams that are not used for days are removed
                if last:
                    raise
            except Exception:
                self._forget()
                raise
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)

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
        # Already there: the answer to the attempt before was lost, not the rows.
        if response.HasField("error") and response.error.code != code_pb2.ALREADY_EXISTS:
            if response.row_errors:
                raise AppendError(f"{self._parent}: {response.row_errors[0].message}")
            raise exceptions.from_grpc_status(_status(response.error.code), response.error.message)
        self._offset += len(rows)

    def _forget(self) -> None:
        self._disconnect()
        self._stream = None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _status(code: int) -> grpc.StatusCode:
    return next(status for status in grpc.StatusCode if status.value[0] == code)


def _size(rows: Sequence[bytes]) -> int:
    return sum(map(len, rows)) + ROW_OVERHEAD_BYTES * len(rows)
