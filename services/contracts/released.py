"""The schemas of the last release, and what may change in a table that has rows.

`make release-schemas` records the present schemas in `released_schemas.json`, once a release is deployed.
Synthesis refuses a table whose columns BigQuery cannot change in place: Terraform would replace the table
and lose its rows. Tests refuse a message whose schema Pub/Sub would not revise.
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from services.contracts import tables
from services.contracts.messages import WITH_SCHEMA
from services.contracts.schema import avro_schema, bigquery_schema

_FILE: Final = Path(__file__).with_name("released_schemas.json")

Schemas = dict[str, dict[str, str]]
"""Row type, then column, to its BigQuery type and mode, such as `STRING REQUIRED`."""


class Released(msgspec.Struct):
    """The schemas of a release: of rows, and of messages in Avro."""

    tables: Schemas
    messages: dict[str, dict[str, Any]]


class IncompatibleSchemaError(Exception):
    """A row type has columns that a table of the last release cannot get in place."""


def columns_of(row: type[msgspec.Struct]) -> dict[str, str]:
    """Column to type and mode."""
    return {column["name"]: f"{column['type']} {column['mode']}" for column in bigquery_schema(row)}


def released_schemas() -> Released:
    """The schemas of the last release."""
    return msgspec.json.decode(_FILE.read_bytes(), type=Released)


def check(table: str, row: type[msgspec.Struct], released: Schemas) -> None:
    """Refuse what BigQuery cannot change in place (https://cloud.google.com/bigquery/docs/managing-table-schemas).

    A type of rows that was never released may have any columns.

    Raises:
        IncompatibleSchemaError: names table, column and remedy.
    """
    before, after = released.get(row.__name__), columns_of(row)
    if before is None:
        return
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old is None and new is not None and new.endswith(" REQUIRED"):
            fault = "is new and required; make it nullable: `| None = None`"
        elif new is None:
            fault = "is removed; keep it"
        elif old is not None and new not in (old, old.replace(" REQUIRED", " NULLABLE")):
            fault = f"was {old} and is {new}; keep its type and mode, or add a nullable one"
        else:
            continue
        raise IncompatibleSchemaError(
            f"table {table}: column {name} of {row.__name__} (services/contracts/tables.py) {fault}. The "
            "last release has this table, and Terraform would replace it with all its rows"
        )


def main() -> None:
    """Record the schemas of all row types and messages, unless a table could not follow."""
    rows = [each for each in vars(tables).values() if getattr(each, "__module__", "") == tables.__name__]
    released = released_schemas().tables
    try:
        for row in rows:
            check(row.__name__, row, released)
    except IncompatibleSchemaError as error:
        raise SystemExit(str(error)) from None
    schemas = Released(
        tables={row.__name__: columns_of(row) for row in rows},
        messages={message.__name__: avro_schema(message) for message in WITH_SCHEMA},
    )
    _FILE.write_bytes(msgspec.json.format(msgspec.json.encode(schemas)) + b"\n")


if __name__ == "__main__":
    main()
