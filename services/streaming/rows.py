"""Rows of a table as the Storage Write API takes them: protocol buffers."""

import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from services.contracts.schema import bigquery_schema
from services.contracts.tables import Prediction

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


PREDICTION: Final = RowEncoder(Prediction)
