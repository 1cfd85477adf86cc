"""Read CSV and Parquet files into frames, with errors that name the line."""

import csv
import gzip
import io
import lzma
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

import polars as pl

SHOWN = 5  # rows named of each kind of fault
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*$', re.IGNORECASE)
_DECOMPRESS = {".csv": bytes, ".csv.gz": gzip.decompress, ".csv.xz": lzma.decompress}


@dataclass(frozen=True)
class Fault:
    """One kind of fault: in which column, how often, and the first of them with their rows."""

    column: str
    problem: str
    total: int = 1
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.examples:
            return f"{self.column}: {self.problem}"
        lines = [f"{self.column}: {self.problem} ({self.total})", *(f"  {each}" for each in self.examples)]
        if self.total > len(self.examples):
            lines.append(f"  and {self.total - len(self.examples)} more")
        return "\n".join(lines)


class DataError(Exception):
    """A file cannot be used; nothing of it was loaded."""

    def __init__(self, name: str, *faults: Fault):
        self.faults = faults
        total = sum(fault.total for fault in faults)
        report = indent("\n".join(map(str, faults)), "  ")
        super().__init__(f"{name}: {total} fault{'s' * (total > 1)}, nothing was loaded\n{report}")


def read_parquet(path: Path) -> tuple[pl.DataFrame, pl.Series]:
    """Columns of a Parquet file, and the numbers of its rows, the first of which is 2; or DataError."""
    try:
        frame = pl.read_parquet(path.read_bytes())
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, f"is not Parquet, as its name says: {error}") from None
    frame = frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
    return frame, pl.int_range(2, len(frame) + 2, eager=True)


def read_csv(path: Path) -> tuple[pl.DataFrame, pl.Series]:
    """Columns of a CSV file as text, empty values as null, and the numbers of its rows; or DataError.

    Lines without values are skipped, as is the line `sep=;` with which spreadsheets name the separator.
    """
    text = _text(path)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    skipped, separator = 0, ","
    while text:
        line, _, rest = text.partition("\n")
        named = _SEPARATOR.match(line)
        if line.strip() and not named:
            break
        separator = named[1] if named else separator
        text, skipped = rest, skipped + 1
    try:
        return _parse(path, text, separator, skipped)
    except csv.Error as error:
        raise _unreadable(path, f"is not CSV: {error}") from None


def _parse(path: Path, text: str, separator: str, skipped: int) -> tuple[pl.DataFrame, pl.Series]:
    """The table in `text`, which begins with the header, after so many lines."""
    lines = csv.reader(io.StringIO(text), delimiter=separator)
    header = next(lines, [])
    if not header:
        raise _unreadable(path, "is empty")
    if len(header) == 1:
        row = f"row {skipped + 1}"
        if other := next((each for each in ";\t|" if each in header[0]), None):
            remedy = "save it with commas between values, and a point in numbers"
            raise _unreadable(path, f"{row}: values are separated by {other!r}; {remedy}")
        if len(next(lines, [])) > 1:
            raise _unreadable(path, f"{row} is a title above the header: {header[0][:40]!r}; delete it")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise _unreadable(path, f"has more than one column {', '.join(map(repr, repeated))}")
    try:
        frame = pl.read_csv(text.encode(), infer_schema=False, separator=separator)
    except pl.exceptions.PolarsError as error:
        sizes = [(skipped + lines.line_num, len(values)) for values in lines]
        ragged = tuple(f"row {row}: {size} values" for row, size in sizes if size > len(header))
        if not ragged:
            raise _unreadable(path, f"is not CSV: {str(error).splitlines()[0]}") from None
        problem = f"rows have more values than the header's {len(header)}"
        raise DataError(path.name, Fault("file", problem, len(ragged), ragged[:SHOWN])) from None
    rows = pl.int_range(skipped + 2, len(frame) + skipped + 2, eager=True)
    has_values = pl.any_horizontal(pl.all().str.strip_chars() != "").fill_null(value=False)
    filled = frame.select(has_values).to_series()
    return frame.filter(filled), rows.filter(filled)


def _text(path: Path) -> str:
    content = path.read_bytes()
    suffix = next((each for each in _DECOMPRESS if path.name.lower().endswith(each)), None)
    if suffix is None:
        raise _unreadable(path, "has none of the names that say its format: .csv, .csv.gz, .csv.xz, .parquet")
    try:
        content = _DECOMPRESS[suffix](content)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise _unreadable(path, f"is not {path.suffix[1:]}, as its name says: {error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start : error.start + 1]
        raise _unreadable(path, f"is not UTF-8 text: byte {byte!r} in row {row}") from None


def _unreadable(path: Path, problem: str) -> DataError:
    return DataError(path.name, Fault("file", problem))
