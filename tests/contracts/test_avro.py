"""Messages of one revision of a schema can be read by the other, as Pub/Sub asks of a new revision."""

import io
from typing import Any

import fastavro
import msgspec

from services.contracts.schema import avro_schema


class Row(msgspec.Struct):
    """A part of a reply."""

    day: str


class Before(msgspec.Struct):
    """A reply."""

    request_id: str
    rows: list[Row]


def revised(*fields: tuple[str, type, object]) -> dict[str, Any]:
    own = [("request_id", str), ("rows", list[Row])]
    return avro_schema(msgspec.defstruct("Before", [*own, *fields]))


def read(message: dict[str, Any], written: dict[str, Any], reader: dict[str, Any]) -> Any:
    content = io.BytesIO()
    fastavro.schemaless_writer(content, fastavro.parse_schema(written), message)
    content.seek(0)
    return fastavro.schemaless_reader(content, fastavro.parse_schema(written), fastavro.parse_schema(reader))


def test_a_new_field_has_its_default_for_readers_of_older_messages() -> None:
    before = avro_schema(Before)
    after = revised(("currency", str, "EUR"), ("scale", float, 1.0), ("labels", list[str], []))
    old = {"request_id": "r", "rows": [{"day": "2026-01-01"}]}
    new = old | {"currency": "USD", "scale": 2.0, "labels": ["a"]}
    assert read(old, before, after) == old | {"currency": "EUR", "scale": 1.0, "labels": []}
    assert read(new, after, before) == old


def test_a_field_without_a_default_has_none() -> None:
    assert all("default" not in field for field in avro_schema(Before)["fields"])
