"""Files of daily sales: the columns of `services.contracts.tables.Sale`, checked and never silently fixed.

CSV (plain, .gz, .xz) or Parquet. `date` is ISO 8601; `store_nbr` and `family` are text
keys; `sales` are units sold, >= 0; `onpromotion` counts items on promotion, a whole number >= 0. Rows may
come in any order. Every series has a row for each day from its first to the file's last, except for days
that no series has: on those everything was closed, and they become zeros, which the notes say. A file that
lacks a month of days, or most days, is no file of daily sales. Keys are trimmed and in Unicode's form NFC.

Rows after the last sale with `onpromotion` and without `sales` are the promotions planned, for up to a year.
"""

import datetime
import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from services.contracts.schema import bigquery_schema
from services.contracts.tables import Sale
from services.forecasting.table_file import SHOWN, DataError, Fault, read_csv, read_parquet

Type = pl.DataType | type[pl.DataType]

# For each type of a declared column, Polars' own, and what is wrong with a value that does not fit.
_TYPES: dict[str, tuple[Type, str]] = {
    "STRING": (pl.String, "not text or a whole number"),
    "INTEGER": (pl.Int64, "not a whole number"),
    "FLOAT": (pl.Float64, "not a number"),
    "NUMERIC": (pl.Decimal(38, 9), "not a number"),
    "BOOLEAN": (pl.Boolean, "neither true nor false"),
    "DATE": (pl.Date, "not an ISO 8601 date, YYYY-MM-DD"),
    "TIMESTAMP": (
        pl.Datetime("us", "UTC"),
        "not an ISO 8601 time with an offset, such as 2024-01-31T12:00:00Z",
    ),
}
_DECLARED = bigquery_schema(Sale)

COLUMNS = {column["name"]: _TYPES[column["type"]][0] for column in _DECLARED}
KEY = ("store_nbr", "family")
_MISFITS = {column["name"]: _TYPES[column["type"]][1] for column in _DECLARED}
_NEEDED = (*(column["name"] for column in _DECLARED if column["mode"] == "REQUIRED"), "sales")
# Columns that the model reads: a file that has one has a value in each row.
_WHOLE = (*_NEEDED, "onpromotion")

_LARGEST = 1e12  # up to it, two decimals are exact
_CLOSED_DAYS = 31
_PLANNED_DAYS = 366
_KEY_LENGTH = 128  # that of services.contracts.messages.Key: a longer one could not be asked for
_EMPTY = "empty"


@dataclass(frozen=True, eq=False)
class Sales:
    """Checked daily sales: one row per series and day, without gaps, sorted by series and date."""

    frame: pl.DataFrame  # the required columns of `Sale`, and those of the others that the source has
    notes: tuple[str, ...]  # what was ignored or filled in, one sentence each


def with_values(frame: pl.DataFrame) -> list[str]:
    """The declared columns of a frame, without those that have no value in any row and may lack it."""
    present = [name for name in COLUMNS if name in frame.columns]
    return [name for name in present if name in _NEEDED or frame[name].null_count() < len(frame)]


def read(path: Path) -> Sales:
    """Read and check a file; DataError has all of its faults, OSError says that it cannot be read.

    A row's number in an error counts the header as 1, so that it is the line of a CSV file (as long as no
    quoted value contains a line break).
    """
    raw, rows = read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path)
    known = [name for name in COLUMNS if name in raw.columns]
    faults = [_missing_column(name, raw.columns) for name in _NEEDED if name not in known]
    if not faults and raw.is_empty():
        faults = [Fault("file", "has a header but no rows")]
    if faults:
        raise DataError(path.name, *faults)
    notes = [f"column {name!r} is ignored" for name in raw.columns if name not in known]

    raw = raw.select(rows.alias("row"), *known)
    frame = raw.select("row", *(_typed(name, raw.schema[name]) for name in known))
    frame = frame.with_columns(pl.col(KEY).str.strip_chars().str.normalize("NFC"))
    plan = _is_plan(raw, frame)
    faults = _value_faults(raw.filter(~plan), frame.filter(~plan))
    faults += _value_faults(raw.filter(plan), frame.filter(plan).drop("date", "sales"))
    plan, frame = frame.filter(plan), frame.filter(~plan)
    faults = (
        faults
        or _duplicate_faults(pl.concat([frame, plan]))
        or _missing_days(frame)
        or _plan_faults(plan, frame)
        or _gap_faults(frame)
    )
    if faults:
        raise DataError(path.name, *faults)
    frame, closed = _with_closed_days(frame)
    if len(plan):
        notes.append(f"{len(plan)} rows until {plan['date'].max()} are planned promotions")
        frame = pl.concat([frame, plan.select(frame.columns)]).sort(*KEY, "date")
    if closed:
        notes.append(
            f"{len(closed)} days on which no series has a row are closed days, filled with 0: "
            f"{', '.join(map(str, closed[:SHOWN]))}{', ...' * (len(closed) > SHOWN)}"
        )
    return Sales(frame, tuple(notes))


def _typed(name: str, kind: pl.DataType) -> pl.Expr:
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
            to_utc = column.dt.convert_time_zone if kind.time_zone else column.dt.replace_time_zone
            return to_utc("UTC").dt.cast_time_unit("us")
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


def _is_plan(raw: pl.DataFrame, frame: pl.DataFrame) -> pl.Series:
    """Which rows are after the last sale, and have none but promotions."""
    if "onpromotion" not in frame.columns:
        return pl.repeat(False, len(frame), eager=True)
    last = pl.col("date").filter(pl.col("sales").is_not_null()).max()
    after = frame.select(pl.col("date") > last).to_series().fill_null(value=False)
    return after & (raw["sales"].cast(pl.String).str.strip_chars().fill_null("") == "")


def _plan_faults(plan: pl.DataFrame, frame: pl.DataFrame) -> list[Fault]:
    last = frame["date"].max()
    unknown = plan.join(frame, on=KEY, how="anti").sort("row").select("row", *KEY)
    problem = "promotions are planned for a series without sales"
    faults = _faults("store_nbr, family", problem, unknown, "row {}: {}, {}".format)
    late = plan.filter(pl.col("date") - last > pl.duration(days=_PLANNED_DAYS)).select("row", "date")
    problem = f"promotions are planned more than {_PLANNED_DAYS} days after the last sales, of {last}"
    return faults + _faults("date", problem, late, "row {}: {}".format)


def _faults(column: str, problem: str, rows: pl.DataFrame, example: Callable[..., str]) -> list[Fault]:
    """The fault that rows have, if there are any; `example` makes a text of the values of one."""
    examples = tuple(example(*values) for values in rows.head(SHOWN).iter_rows())
    return [Fault(column, problem, len(rows), examples)] if examples else []


def _missing_column(name: str, columns: list[str]) -> Fault:
    same = [column for column in columns if column.strip().lower() == name]
    close = difflib.get_close_matches(name, columns, n=1) or same
    hint = f"; did you mean {close[0]!r} to be it?" if close else ""
    return Fault(name, f"column is missing; the file has {', '.join(map(repr, columns))}{hint}")


def _value_faults(raw: pl.DataFrame, frame: pl.DataFrame) -> list[Fault]:
    faults: list[Fault] = []
    for name in frame.columns[1:]:
        for problem, where in _checks(name, raw[name], frame[name]):
            rows = raw.filter(where).select("row", name)
            faults += _faults(name, problem, rows, "row {}".format if problem == _EMPTY else _value)
    return faults


def _value(row: int, value: object) -> str:
    return f"row {row}: {str(value)[:40]!r}"


def _checks(name: str, raw: pl.Series, values: pl.Series) -> Iterator[tuple[str, pl.Series]]:
    """What can be wrong with a column's values, and where it is."""
    empty = raw.is_null()
    if raw.dtype == pl.String:
        empty |= raw.str.strip_chars() == ""
    if name in _WHOLE:
        yield _EMPTY, empty
    yield _MISFITS[name], values.is_null() & ~empty
    if name in KEY:
        yield f"longer than {_KEY_LENGTH} characters", values.str.len_chars() > _KEY_LENGTH
        yield "has control characters", values.str.contains(r"\p{Cc}")
    elif name in ("sales", "onpromotion"):
        yield "negative", values < 0
        yield f"larger than {_LARGEST:.0e}", values > _LARGEST
    elif name == "date":
        tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
        yield "after tomorrow", values > tomorrow


def _duplicate_faults(frame: pl.DataFrame) -> list[Fault]:
    keys = (*KEY, "date")
    rows = frame.select("row", pl.col("row").min().over(keys).alias("first"), *keys)
    repeats = rows.filter(pl.col("row") > pl.col("first"))
    problem, example = "more than one row of a series on a day", "row {} repeats row {}: {}, {}, {}".format
    return _faults("store_nbr, family, date", problem, repeats, example)


def _missing_days(frame: pl.DataFrame) -> list[Fault]:
    """Faults of files that lack so many days that those are no closed days."""
    days = frame.group_by("date").agg(pl.col("row").min()).sort("date")
    days = days.with_columns(before=pl.col("date").shift())
    pauses = days.filter(pl.col("date") - pl.col("before") > pl.duration(days=_CLOSED_DAYS + 1))
    first, last = days["date"][0], days["date"][-1]
    found, total = len(days), (last - first).days + 1
    problem = f"more than {_CLOSED_DAYS} days in a row without a row of any series"
    if pauses.is_empty() and 2 * found < total:
        pauses = days.filter(pl.col("date") - pl.col("before") > pl.duration(days=1))
        problem = f"{found} of the {total} days from {first} to {last} have rows: these are no daily sales"
    return _faults("date", problem, pauses.select("row", "date", "before"), "row {}: {} follows {}".format)


def _gap_faults(frame: pl.DataFrame) -> list[Fault]:
    """Faults of series that lack days which others have."""
    days = frame["date"].unique().sort()
    # Where the days on which anybody has a row are numbered, those of a series have consecutive numbers.
    number = pl.DataFrame({"date": days}).with_row_index("number").cast({"number": pl.Int64})
    gaps = (
        frame.select("row", *KEY, "date")
        .join(number, on="date")
        .sort(*KEY, "date")
        .with_columns(
            next=pl.col("date").shift(-1).over(KEY),
            missing=pl.col("number").shift(-1, fill_value=len(days)).over(KEY) - pl.col("number") - 1,
        )
        .filter(pl.col("missing") > 0)
        .sort("row")
        .select("row", *KEY, "date", "next", "missing")
    )

    def example(row: int, store: str, family: str, date: object, later: object, missing: int) -> str:
        where = f"between {date} and {later}" if later else f"after {date}, the file ends on {days[-1]}"
        return f"row {row}: {store}, {family}: no row {where} ({missing} days)"

    return _faults("date", "days of a series are missing that others have", gaps, example)


def _with_closed_days(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[object]]:
    """The rows with closed days filled in, and those days."""
    days = frame["date"].unique().sort()
    calendar = pl.date_range(days[0], days[-1], eager=True)
    closed = calendar.filter(~calendar.is_in(days.implode()))
    zeros = (
        frame.group_by(KEY)
        .agg(first=pl.col("date").min())
        .join(pl.DataFrame({"date": closed}), how="cross")
        .filter(pl.col("date") > pl.col("first"))
        .select(*KEY, "date", pl.lit(0.0).alias("sales"), pl.lit(0, pl.Int64).alias("onpromotion"))
    )
    whole = pl.concat([frame, zeros], how="diagonal").select(with_values(frame)).sort(*KEY, "date")
    return whole, closed.to_list()
