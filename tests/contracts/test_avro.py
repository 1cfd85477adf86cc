"""Messages of one revision of a schema can be read by the other, as Pub/Sub asks of a new revision."""

import io
from typing import Any

import fastavro
import fastavro.utils
import msgspec
import pytest
from fastavro.read import SchemaResolutionError

from services.contracts.messages import WITH_SCHEMA
from services.contracts.released import released_schemas
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


def exchange(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Read messages of each revision by the other one, as Pub/Sub checks before it takes a revision.

    https://cloud.google.com/pubsub/docs/commit-schema-revision
    """
    for written, reader in ((before, after), (after, before)):
        read(fastavro.utils.generate_one(written), written, reader)


@pytest.mark.parametrize("message", WITH_SCHEMA)
def test_pubsub_revises_the_schema_of_the_last_release(message: type[msgspec.Struct]) -> None:
    """`make release-schemas` records them, once a release is deployed; a new message has none yet."""
    released = released_schemas().messages.get(message.__name__)
    if released:
        exchange(released, avro_schema(message))


@pytest.mark.parametrize(
    "refused",
    [
        revised(("currency", str, msgspec.NODEFAULT)),
        avro_schema(msgspec.defstruct("Before", [("request_id", str)])),
        avro_schema(msgspec.defstruct("Before", [("request_id", int), ("rows", list[Row])])),
    ],
    ids=["a field without a default", "a field less", "another type"],
)
def test_what_pubsub_would_refuse_is_refused(refused: dict[str, Any]) -> None:
    with pytest.raises(SchemaResolutionError):
        exchange(avro_schema(Before), refused)
