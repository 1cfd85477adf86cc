"""Rows of the table `predictions` as the Storage Write API takes them: protocol buffers.

A serialized message is the concatenation of its fields in any order
(https://protobuf.dev/programming-guides/encoding/#order). So the fields that a forecast decides are
serialized once per model version, those that a request decides once per message, and a row is the two joined.
"""

import datetime
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from services.contracts.schema import bigquery_schema
from services.contracts.tables import Prediction
from services.forecasting.forecast import Forecast

_Field = descriptor_pb2.FieldDescriptorProto
# https://cloud.google.com/bigquery/docs/supported-data-types#supported-protocol-buffer-data-types
_TYPES: Final = {
    "STRING": _Field.TYPE_STRING,
    "FLOAT": _Field.TYPE_DOUBLE,
    "DATE": _Field.TYPE_INT32,  # days since the epoch
    "TIMESTAMP": _Field.TYPE_INT64,  # microseconds since the epoch
}
_EPOCH: Final = datetime.date(1970, 1, 1)


def _describe() -> descriptor_pb2.DescriptorProto:
    columns = bigquery_schema(Prediction)
    return descriptor_pb2.DescriptorProto(
        name="Prediction",
        field=[
            _Field(
                name=column["name"],
                number=number,
                type=_TYPES[column["type"]],
                label=_Field.LABEL_REQUIRED,
            )
            for number, column in enumerate(columns, start=1)
        ],
    )


DESCRIPTOR: Final = _describe()
"""The row's message type, as the Storage Write API wants it told."""


def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="prediction.proto", syntax="proto2", message_type=[DESCRIPTOR]
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Prediction"))


_Row: Final = _message_class()


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
            _Row(
                model_version=forecast.version,
                date=(row.date - _EPOCH).days,
                store_nbr=row.store_nbr,
                family=row.family,
                sales=row.sales,
                lower=row.lower,
                upper=row.upper,
            ).SerializePartialToString()
            for row in forecast.rows(forecast.horizon, [index])
        ]


def request_fields(request_id: str, published_us: int, processed_us: int) -> bytes:
    """What a request adds to each of its rows; times in microseconds since the epoch."""
    return _Row(
        request_id=request_id, published_at=published_us, processed_at=processed_us
    ).SerializePartialToString()
