"""Columns of a BigQuery table: comparison of schemas, and what can change in place."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from infra.simulator.resources import ResourceError

Column = Mapping[str, Any]
"""A column in BigQuery's JSON: `name`, `type`, `mode` and `description`."""

# Names of types in SQL where a schema may have another one:
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types
_SQL_TYPES: Final = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}


def parse(schema: str | None) -> list[Column]:
    """The columns in a table's `schema`, which is JSON.

    Raises:
        ResourceError: the text is not JSON.
    """
    try:
        return json.loads(schema or "[]")
    except ValueError as error:
        raise ResourceError("The schema is not JSON", str(error), "schema") from error


def declared(schema: str | None) -> list[Column]:
    """The columns of a table to be created or changed.

    Raises:
        ResourceError: the text is not JSON, or a column is a record or repeated, which no contract has.
    """
    columns = parse(schema)
    for column in columns:
        if "fields" in column or _mode(column) == "REPEATED":
            raise ResourceError(
                "Not simulated", f"column {column['name']}: records and repeated columns", "schema"
            )
    return columns


def sql_type(column: Column) -> str:
    """The type of a column, as SQL spells it."""
    name: str = column["type"].upper()
    return _SQL_TYPES.get(name, name)


def same(first: Iterable[Column], second: Iterable[Column]) -> bool:
    """Whether two lists hold the same columns, in any order and spelling."""

    def normal(columns: Iterable[Column]) -> list[tuple[str, str, str, str]]:
        return sorted(
            (column["name"], sql_type(column), _mode(column), column.get("description") or "")
            for column in columns
        )

    return normal(first) == normal(second)


def extends(before: list[Column], after: list[Column]) -> bool:
    """Whether BigQuery can change columns in place: it adds nullable ones and relaxes REQUIRED.

    https://cloud.google.com/bigquery/docs/managing-table-schemas
    """
    known = {column["name"]: column for column in before}
    if known.keys() - {column["name"] for column in after}:
        return False
    for column in after:
        old = known.get(column["name"])
        if _mode(column) == "REQUIRED" and (old is None or _mode(old) != "REQUIRED"):
            return False
        if old is not None and sql_type(old) != sql_type(column):
            return False
    return True


def _mode(column: Column) -> str:
    return (column.get("mode") or "NULLABLE").upper()
