"""The BigQuery table of predictions, written with the Storage Write API.

Compared with a BigQuery subscription it saves a topic of rows; it costs half of `insertAll`
(https://cloud.google.com/bigquery/pricing#data_ingestion_pricing); rows are serialized once per model; and
offsets make a repeated append safe: if only BigQuery's response was lost, nothing is written twice. Rows do
repeat after a restart, or when Pub/Sub redelivers a message; the view of the latest predictions drops those.
"""

import asyncio
import collections
import dataclasses
import datetime
import logging
import os
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import grpc.aio
import msgspec
from google.api_core import exceptions
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write import transports
from google.protobuf import descriptor_pb2, message_factory
from google.rpc import code_pb2

from services.contracts.schema import bigquery_schema
from services.contracts.tables import Prediction
from services.streaming.channels import call, channel

_log = logging.getLogger(__name__)

APPEND_BYTES: Final = 2_000_000
"""Of one append: large enough to make its overhead negligible, small enough for the emulator to write in
seconds. The limit is 10 MB: https://cloud.google.com/bigquery/quotas#write-api-limits"""
ROW_OVERHEAD_BYTES: Final = 8  # tag and length around a row
_APPEND_SECONDS: Final = 30.0
_ATTEMPTS: Final = 4
_INITIAL_BACKOFF_SECONDS: Final = 0.2

_SERVICE: Final = "/google.cloud.bigquery.storage.v1.BigQueryWrite"
_CreateRequest: Final[Any] = types.CreateWriteStreamRequest.pb()
_WriteStream: Final[Any] = types.WriteStream.pb()
_AppendRequest: Final[Any] = types.AppendRowsRequest.pb()
_AppendResponse: Final[Any] = types.AppendRowsResponse.pb()

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

_Field = descriptor_pb2.FieldDescriptorProto
# https://cloud.google.com/bigquery/docs/supported-data-types#supported-protocol-buffer-data-types
_TYPES: Final = {
    "STRING": _Field.TYPE_STRING,
    "INTEGER": _Field.TYPE_INT64,
    "FLOAT": _Field.TYPE_DOUBLE,
    "NUMERIC": _Field.TYPE_STRING,
    "BOOLEAN": _Field.TYPE_BOOL,
    "BYTES": _Field.TYPE_BYTES,
    "DATE": _Field.TYPE_INT32,  # days since the epoch
    "TIMESTAMP": _Field.TYPE_INT64,  # microseconds since the epoch
}
_LABELS: Final = {"REQUIRED": _Field.LABEL_REQUIRED, "NULLABLE": _Field.LABEL_OPTIONAL}
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class RowEncoder:
    """Serializes rows of a table as protocol buffers, whose message type is `descriptor`."""

    def __init__(self, row: type[msgspec.Struct]) -> None:
        self.descriptor: Final = descriptor_pb2.DescriptorProto(name=row.__name__)
        for number, column in enumerate(bigquery_schema(row), start=1):
            kind, label = _TYPES[column["type"]], _LABELS[column["mode"]]
            self.descriptor.field.add(name=column["name"], number=number, type=kind, label=label)
        file = descriptor_pb2.FileDescriptorProto(name="row.proto", message_type=[self.descriptor])
        self.message: Final[Any] = message_factory.GetMessages([file])[row.__name__]

    def encode(self, **values: Any) -> bytes:
        """The columns given, as Python values; None is NULL. The rest may be appended later."""
        known = {name: _encoded(value) for name, value in values.items() if value is not None}
        return self.message(**known).SerializePartialToString()


def _encoded(value: Any) -> Any:
    match value:
        case datetime.datetime():
            return (value - _EPOCH) // datetime.timedelta(microseconds=1)
        case datetime.date():
            return (value - _EPOCH.date()).days
        case Decimal():
            return f"{value:f}"
        case _:
            return value


PREDICTION: Final = RowEncoder(Prediction)


@dataclasses.dataclass(eq=False)
class _Append:
    """Rows of one request; `written` is done when they are."""

    written: "asyncio.Future[None]"
    rows: list[bytes] = dataclasses.field(default_factory=list[bytes])
    size: int = 0


class PredictionsTable:
    """Appends rows to `project.dataset.table`, through a stream that only this process writes.

    Appends that are requested while one is in flight are joined in the next one. It is the table of
    BigQuery, or of the emulator at BIGQUERY_STORAGE_EMULATOR_HOST.
    """

    def __init__(self, name: str) -> None:
        project, dataset, table = name.split(".")
        self._parent = f"projects/{project}/datasets/{dataset}/tables/{table}"
        self._channel: grpc.aio.Channel | None = None
        self._stream: str | None = None
        self._appending: Any = None  # open call on the stream, with one request at a time
        self._offset = 0
        self._waiting: collections.deque[_Append] = collections.deque()
        self._writer: asyncio.Task[None] | None = None

    async def append(self, rows: Sequence[bytes]) -> None:
        """Save serialized rows; they are durable when this returns.

        Raises:
            google.api_core.exceptions.GoogleAPIError: BigQuery refuses them, or cannot be reached.
            TimeoutError: BigQuery does not answer.
        """
        size = sum(map(len, rows)) + ROW_OVERHEAD_BYTES * len(rows)
        if not self._waiting or self._waiting[-1].size + size > APPEND_BYTES:
            self._waiting.append(_Append(asyncio.get_running_loop().create_future()))
        joined = self._waiting[-1]
        joined.rows += rows
        joined.size += size
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await asyncio.shield(joined.written)  # others wait for it, too

    async def close(self) -> None:
        """Close the connection; no append may be waiting."""
        if self._channel is not None:
            await self._channel.close()
        self._channel = self._stream = self._appending = None

    async def _write(self) -> None:
        while self._waiting:
            append = self._waiting.popleft()
            try:
                append.written.set_result(await self._append_with_retries(append.rows))
            except Exception as error:  # of any kind: the callers of `append` get it
                append.written.set_exception(error)

    async def _append_with_retries(self, rows: Sequence[bytes]) -> None:
        for attempt in range(_ATTEMPTS):
            last = attempt == _ATTEMPTS - 1
            try:
                await self._append(rows)
                return
            except Exception as error:
                if self._appending is not None:
                    self._appending.cancel()
                    self._appending = None
                if isinstance(error, _STREAM_LOST):
                    self._stream = None
                elif not isinstance(error, _AMBIGUOUS):
                    # Nothing was written, for want of quota, say, or because a row is refused. The stream
                    # stays valid at this offset: a new one for each failure would use up their quota.
                    raise
                elif last:
                    # Whether these rows arrived is unknown: the next ones start a new stream. The channel
                    # may be what fails, so they start one of these, too.
                    await self.close()
                if last:
                    raise
                _log.warning("append: %s: %s; retrying", type(error).__name__, error)
            await asyncio.sleep(_INITIAL_BACKOFF_SECONDS * 2**attempt)

    async def _append(self, rows: Sequence[bytes]) -> None:
        if self._channel is None:
            emulator = os.environ.get("BIGQUERY_STORAGE_EMULATOR_HOST")
            self._channel = channel(transports.BigQueryWriteGrpcAsyncIOTransport, emulator)
        async with asyncio.timeout(_APPEND_SECONDS):
            if self._stream is None:
                method = f"{_SERVICE}/CreateWriteStream"
                create = call(self._channel.unary_unary, method, _CreateRequest, _WriteStream)
                committed = _WriteStream(type_=types.WriteStream.Type.COMMITTED)
                request = _CreateRequest(parent=self._parent, write_stream=committed)
                stream = await create(request, metadata=[to_grpc_metadata({"parent": self._parent})])
                self._stream, self._offset = stream.name, 0
            if self._appending is None or self._appending.done():
                method = f"{_SERVICE}/AppendRows"
                start = call(self._channel.stream_stream, method, _AppendRequest, _AppendResponse)
                self._appending = await start(metadata=[to_grpc_metadata({"write_stream": self._stream})])
            # Only the first request needs stream and schema, but the emulator requires the stream in each.
            request = _AppendRequest(write_stream=self._stream)
            request.offset.value = self._offset
            request.proto_rows.writer_schema.proto_descriptor.CopyFrom(PREDICTION.descriptor)
            request.proto_rows.rows.serialized_rows.extend(rows)
            await self._appending.write(request)
            response = await self._appending.read()
        if response is grpc.aio.EOF:  # pyright: ignore[reportAttributeAccessIssue]
            raise exceptions.ServiceUnavailable("BigQuery closed the stream")
        # ALREADY_EXISTS: only the response to the previous attempt was lost, not the rows.
        if response.HasField("error") and response.error.code != code_pb2.ALREADY_EXISTS:
            reasons = [each.message for each in response.row_errors] or [response.error.message]
            raise exceptions.from_grpc_status(response.error.code, f"{self._parent}: {reasons[0]}")
        self._offset += len(rows)
