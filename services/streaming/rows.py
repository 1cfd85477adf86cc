"""Rows of the table `predictions` as the Storage Write API takes them: protocol buffers.

A serialized message is the concatenation of its fields in any order
(https://protobuf.dev/programming-guides/encoding/#order). So the fields that a forecast decides are
serialized once per model version, those that a request decides once per message, and a row is the two joined.
"""

import datetime
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from services.contracts.schema import bigquery_schema, defaults
from services.contracts.tables import Prediction
from services.forecasting.forecast import Forecast

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
    """Serializes rows of a table.

    Attributes:
        descriptor: The row's message type, for the Storage Write API.
    """

    def __init__(self, row: type[msgspec.Struct]) -> None:
        self.descriptor: Final = descriptor_pb2.DescriptorProto(
            name=row.__name__,
            field=[
                _Field(
                    name=column["name"],
                    number=number,
                    type=_TYPES[column["type"]],
                    label=_LABELS[column["mode"]],
                )
                for number, column in enumerate(bigquery_schema(row), start=1)
            ],
        )
        file = descriptor_pb2.FileDescriptorProto(
            name="row.proto", syntax="proto2", message_type=[self.descriptor]
        )
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self.message: Final[Any] = message_factory.GetMessageClass(pool.FindMessageTypeByName(row.__name__))

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


_ENCODER: Final = RowEncoder(Prediction)
DESCRIPTOR: Final = _ENCODER.descriptor
"""The message type of a prediction."""


class ForecastRows:
    """The rows of a forecast, without what the request adds to each.

    A series is serialized when it is asked for first.
    """

    def __init__(self, forecast: Forecast) -> None:
        self._forecast = forecast
        self._series: dict[int, list[bytes]] = {}

    def of(self, days: int, series: Iterable[int]) -> list[bytes]:
        """The first `days` days of these series, by series, then date."""
        rows: list[bytes] = []
        for index in series:
            known = self._series.get(index)
            if known is None:
                known = self._series[index] = self._serialize(index)
            rows += known[:days]
        return rows

    def _serialize(self, index: int) -> list[bytes]:
        forecast = self._forecast
        return [
            _ENCODER.encode(
                **defaults(Prediction), model_version=forecast.version, **msgspec.structs.asdict(row)
            )
            for row in forecast.rows(forecast.horizon, [index])
        ]


def request_fields(request_id: str, published_us: int, processed_us: int) -> bytes:
    """What a request adds to each of its rows; times in microseconds since the epoch."""
    return _ENCODER.encode(request_id=request_id, published_at=published_us, processed_at=processed_us)
