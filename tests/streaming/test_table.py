"""Rows of every type for the Storage Write API; appends when BigQuery is silent or refuses."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import grpc.aio
import msgspec
import pytest
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import types
from google.rpc import code_pb2

from services.contracts.messages import SaleRangeRequest
from services.streaming import channels
from services.streaming import table as module
from services.streaming.processing import ModelReplies
from services.streaming.table import PredictionsTable, RowEncoder
from tests.conftest import Models
from tests.streaming.conftest import Surroundings, grpc_address
from tests.streaming.silent_relay import Relay


class Everything(msgspec.Struct):
    """A column of each type, required and nullable."""

    text: str
    whole: int
    number: float
    amount: Decimal
    flag: bool
    day: datetime.date
    moment: datetime.datetime
    maybe_text: str | None = None
    maybe_whole: int | None = None
    maybe_number: float | None = None
    maybe_amount: Decimal | None = None
    maybe_flag: bool | None = None
    maybe_day: datetime.date | None = None
    maybe_moment: datetime.datetime | None = None


VALUES: dict[str, Any] = {
    "text": 'é, "quoted"',
    "whole": -(2**62),
    "number": 0.1,
    "amount": Decimal("12345678901234567890.123456789"),
    "flag": False,
    "day": datetime.date(1969, 12, 31),
    "moment": datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, datetime.UTC),
}
FULL = VALUES | {f"maybe_{name}": value for name, value in VALUES.items()}
SPARSE = VALUES | {f"maybe_{name}": None for name in VALUES}


def _as_it_is(value: Any) -> Any:
    return value


@pytest.mark.parametrize("values", [FULL, SPARSE], ids=["full", "nulls"])
def test_a_serialized_row_holds_every_type(values: dict[str, Any]) -> None:
    encoder = RowEncoder(Everything)
    row = encoder.message.FromString(encoder.encode(**values))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    decode: dict[str, Callable[[Any], Any]] = {
        "amount": Decimal,
        "day": lambda days: epoch.date() + datetime.timedelta(days=days),
        "moment": lambda us: epoch + datetime.timedelta(microseconds=us),
    }
    found = {
        name: decode.get(name.removeprefix("maybe_"), _as_it_is)(getattr(row, name))
        if row.HasField(name)
        else None
        for name in values
    }
    assert found == values
    assert row.IsInitialized()


def test_a_row_without_a_required_column_is_not_complete() -> None:
    encoder = RowEncoder(Everything)
    assert not encoder.message.FromString(encoder.encode(text="a")).IsInitialized()


def rows(models: Models, request_id: str) -> list[bytes]:
    """The rows that answer a request for a day of every series."""
    now = int(datetime.datetime.now(datetime.UTC).timestamp() * 1e6)
    return ModelReplies(models.forecast("v1"), 1).rows(SaleRangeRequest(request_id, 1), now, now)


@pytest.mark.parametrize("broken_by", ["keepalive", "a new channel"])
def test_a_silent_connection_is_replaced(
    surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch, broken_by: str
) -> None:
    """It has swallowed rows and pings; whoever connects anew is answered."""
    if broken_by == "keepalive":
        monkeypatch.setattr(channels, "KEEPALIVE", [(name, 1000) for name, _ in channels.KEEPALIVE])
    else:
        monkeypatch.setattr(module, "_APPEND_SECONDS", 2.0)

    async def append() -> None:
        relay = Relay(grpc_address(surroundings.bigquery_server))
        monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", await relay.listen())
        table = PredictionsTable(surroundings.table)
        await table.append(rows(surroundings.models, "before"))
        relay.silence()
        for _ in range(2):  # by a new channel, the second attempt of the worker succeeds
            with contextlib.suppress(exceptions.GoogleAPIError, TimeoutError):
                await table.append(rows(surroundings.models, "after"))
                break
        else:
            pytest.fail("nothing is saved any more")
        await table.close()

    asyncio.run(append())
    saved = [row["request_id"] for row in surroundings.rows()]
    assert sorted({*saved}) == ["after", "before"]


class BigQuery:
    """BigQuery's side of the Storage Write API, which writes nothing down; refuses appends if told to."""

    def __init__(self) -> None:
        self.streams = 0
        self.offsets: list[int] = []
        self.refusal: grpc.StatusCode | str = ""

    async def _create(self, request: bytes, _: Any) -> bytes:
        self.streams += 1
        parent = types.CreateWriteStreamRequest.deserialize(request).parent
        return types.WriteStream.serialize(types.WriteStream(name=f"{parent}/streams/{self.streams}"))

    async def _append(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for each in requests:
            request = types.AppendRowsRequest.pb(types.AppendRowsRequest.deserialize(each))
            self.offsets.append(request.offset.value)
            response = types.AppendRowsResponse.pb()()
            if isinstance(self.refusal, grpc.StatusCode):
                await context.abort(self.refusal, "out of quota")
            if self.refusal:
                response.error.code = code_pb2.INVALID_ARGUMENT
                response.row_errors.add(index=0, message=self.refusal)
            else:
                response.append_result.offset.value = request.offset.value
            yield types.AppendRowsResponse.serialize(types.AppendRowsResponse.wrap(response))

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncGenerator[str]:
        """Serve; yields the address."""
        server = grpc.aio.server()
        handlers = {
            "CreateWriteStream": grpc.unary_unary_rpc_method_handler(self._create),
            "AppendRows": grpc.stream_stream_rpc_method_handler(self._append),
        }
        name = "google.cloud.bigquery.storage.v1.BigQueryWrite"
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        yield f"127.0.0.1:{port}"
        await server.stop(None)


@pytest.mark.parametrize(
    "refusal", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.PERMISSION_DENIED, "row error"]
)
def test_refused_rows_leave_stream_and_offset(
    models: Models, monkeypatch: pytest.MonkeyPatch, refusal: grpc.StatusCode | str
) -> None:
    """A stream for each refused append would use up the quota of streams."""

    bigquery = BigQuery()

    async def append() -> None:
        async with bigquery.listening() as address:
            monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", address)
            table = PredictionsTable("p.d.t")
            some = rows(models, "r")
            await table.append(some)
            bigquery.refusal = refusal
            for _ in range(5):
                with pytest.raises(
                    (exceptions.InvalidArgument, exceptions.ResourceExhausted, exceptions.PermissionDenied)
                ):
                    await table.append(some)
            bigquery.refusal = ""
            await table.append(some)
            await table.close()

    asyncio.run(append())
    number = len(rows(models, "r"))
    assert bigquery.streams == 1
    assert bigquery.offsets == [0, *[number] * 6]
