"""Columns of sales, which `services.contracts.tables.Sale` declares, as Polars has them."""

import polars as pl

from services.contracts.schema import bigquery_schema
from services.contracts.tables import Sale

Type = pl.DataType | type[pl.DataType]

_TYPES: dict[str, Type] = {
    "STRING": pl.String,
    "INTEGER": pl.Int64,
    "FLOAT": pl.Float64,
    "NUMERIC": pl.Decimal(38, 9),
    "BOOLEAN": pl.Boolean,
    "DATE": pl.Date,
    "TIMESTAMP": pl.Datetime("us", "UTC"),
}
_EXPECTED: dict[type[pl.DataType], str] = {
    pl.String: "not text or a whole number",
    pl.Int64: "not a whole number",
    pl.Float64: "not a number",
    pl.Decimal: "not a number",
    pl.Boolean: "neither true nor false",
    pl.Date: "not an ISO 8601 date, YYYY-MM-DD",
    pl.Datetime: "not an ISO 8601 time with an offset, such as 2024-01-31T12:00:00Z",
}
_DECLARED = bigquery_schema(Sale)

COLUMNS = {column["name"]: _TYPES[column["type"]] for column in _DECLARED}
REQUIRED = tuple(column["name"] for column in _DECLARED if column["mode"] == "REQUIRED")
KEY = ("store_nbr", "family")
NEEDED = (*REQUIRED, "sales")
WHOLE = (*NEEDED, "onpromotion")
"""Columns that the model reads: a file that has one has a value in each row."""


def with_values(frame: pl.DataFrame) -> list[str]:
    """The declared columns of a frame, without those that have no value in any row and may lack it."""
    present = [name for name in COLUMNS if name in frame.columns]
    return [name for name in present if name in NEEDED or frame[name].null_count() < len(frame)]


def expected(name: str) -> str:
    """What is wrong with a value that does not fit the column."""
    return _EXPECTED[COLUMNS[name].base_type()]


def typed(name: str, kind: pl.DataType) -> pl.Expr:
    """A file's column of type `kind` as the declared type, null where a value does not fit."""
    column, declared = pl.col(name), COLUMNS[name]
    is_text = kind == pl.String
    if kind == declared:
        return pl.when(column.is_finite()).then(column) if kind == pl.Float64 else column
    match declared.base_type():
        case pl.Date if isinstance(kind, pl.Datetime):  # how pandas writes dates
            return pl.when(column == column.dt.truncate("1d")).then(column.dt.date())
        case pl.Date if is_text:
            # At midnight, as dataframes and spreadsheets write dates.
            iso = column.str.contains(r"^\d{4}-\d{2}-\d{2}([T ]00:00(:00(\.0+)?)?)?$")
            return pl.when(iso).then(column.str.head(10).str.to_date("%Y-%m-%d", strict=False))
        case pl.Datetime if isinstance(kind, pl.Datetime):
            zoned = (
                column.dt.convert_time_zone("UTC") if kind.time_zone else column.dt.replace_time_zone("UTC")
            )
            return zoned.dt.cast_time_unit("us")
        case pl.Datetime if is_text:
            return column.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
        case pl.String if kind.is_integer():
            return column.cast(pl.String)
        case pl.Boolean if is_text:
            words = {"true": True, "false": False}
            return column.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)
        case pl.Decimal if is_text or kind.is_numeric():
            return column.cast(declared, strict=False)
        case pl.Float64 if is_text or kind.is_numeric():
            number = column.cast(pl.Float64, strict=False)
            return pl.when(number.is_finite()).then(number)
        case pl.Int64 if is_text or kind.is_numeric():
            number = column.cast(pl.Decimal(38, 9), strict=False)  # exact, and takes 3.0
            return pl.when(number == number.floor()).then(number).cast(pl.Int64, strict=False)
        case _:
            return pl.lit(None, declared).alias(name)
