"""Avro and BigQuery schemas, derived from the message and row types."""

from typing import Any

import msgspec
from msgspec import inspect

_AVRO: dict[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.IntType: "long",
    inspect.FloatType: "double",
    inspect.BoolType: "boolean",
    inspect.BytesType: "bytes",
    # Pub/Sub validates JSON-encoded messages, where a date is ISO 8601 text, not Avro's day number.
    inspect.DateType: "string",
    inspect.DateTimeType: "string",
}
_BIGQUERY: dict[type[inspect.Type], str] = {
    inspect.StrType: "STRING",
    inspect.IntType: "INTEGER",
    inspect.FloatType: "FLOAT",
    inspect.BoolType: "BOOLEAN",
    inspect.DecimalType: "NUMERIC",
    inspect.BytesType: "BYTES",
    inspect.DateType: "DATE",
    inspect.DateTimeType: "TIMESTAMP",
}


def _description(kind: inspect.Type) -> tuple[inspect.Type, str | None]:
    """The type without its annotation, and the annotation's description."""
    if isinstance(kind, inspect.Metadata):
        extra = kind.extra_json_schema or {}
        return kind.type, extra.get("description")
    return kind, None


def _avro(kind: inspect.Type) -> Any:
    kind, _ = _description(kind)
    if isinstance(kind, inspect.StructType):
        return avro_schema(kind.cls)
    if isinstance(kind, inspect.ListType):
        return {"type": "array", "items": _avro(kind.item_type)}
    if type(kind) not in _AVRO:
        raise TypeError(f"no Avro type for {kind!r}")
    return _AVRO[type(kind)]


def avro_schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The Avro record of a message type.

    Raises:
        TypeError: a field has a type with no Avro counterpart here. Optional fields are among
            them: Avro's JSON encoding wraps a union's value, which no plain JSON sender does.
    """
    fields: list[dict[str, Any]] = []
    for field in msgspec.structs.fields(struct):
        kind, description = _description(inspect.type_info(field.type))
        entry = {"name": field.name, "type": _avro(kind)}
        if description:
            entry["doc"] = description
        # Without a default, Pub/Sub refuses a new field: messages of the last revision lack it.
        if not field.required:
            make = field.default_factory
            entry["default"] = msgspec.to_builtins(field.default if make is msgspec.NODEFAULT else make())
        fields.append(entry)
    return {"type": "record", "name": struct.__name__, "fields": fields}


def bigquery_schema(struct: type[msgspec.Struct]) -> list[dict[str, str]]:
    """The BigQuery columns of a row type: `name`, `type`, `mode` and `description` of each.

    Raises:
        TypeError: a field has a type with no BigQuery counterpart here.
    """
    columns = []
    for field in msgspec.structs.fields(struct):
        kind, description = _description(inspect.type_info(field.type))
        mode = "REQUIRED"
        if isinstance(kind, inspect.UnionType):
            mode = "NULLABLE"
            present = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
            if len(present) != 1:
                raise TypeError(f"{struct.__name__}.{field.name}: a column has one type")
            kind, inner = _description(present[0])
            description = description or inner
        if type(kind) not in _BIGQUERY:
            raise TypeError(f"{struct.__name__}.{field.name}: no BigQuery type for {kind!r}")
        column = {"name": field.name, "type": _BIGQUERY[type(kind)], "mode": mode}
        columns.append(column | {"description": description or ""})
    return columns


def defaults(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Values of the columns that are declared with one: what a row has when no service gives another."""
    fields = msgspec.structs.fields(struct)
    return {field.name: field.default for field in fields if field.default not in (msgspec.NODEFAULT, None)}
