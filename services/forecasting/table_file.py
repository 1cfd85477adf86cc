"""Read CSV and Parquet files into frames, with errors that name the line."""

import csv
import gzip
import io
import lzma
import re
import zlib
from pathlib import Path

import polars as pl

from services.forecasting.sales_faults import SHOWN, DataError, Fault

_SEPARATOR = re.compile(r'"?sep=(.)"?\s*$', re.IGNORECASE)


def _unreadable(path: Path, problem: str) -> DataError:
    return DataError(path.name, [Fault("file", problem, 1)])


def read_parquet(path: Path) -> tuple[pl.DataFrame, pl.Series]:
    """Read a Parquet file: its columns, and the numbers of the rows, the first of which is 2.

    Raises:
        DataError: it is not Parquet.
    """
    try:
        frame = pl.read_parquet(path.read_bytes())
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, f"is not Parquet, as its name says: {error}") from None
    frame = frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
    return frame, pl.int_range(2, len(frame) + 2, eager=True)


def read_csv(path: Path) -> tuple[pl.DataFrame, pl.Series]:
    """Read a CSV file: its columns as text, empty values as null, and the numbers of the rows.

    Lines without values are skipped, as is the line `sep=;` with which spreadsheets name the separator.

    Raises:
        DataError: it is not CSV.
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
        other = next((each for each in ";\t|" if each in header[0]), None)
        if other:
            raise _unreadable(
                path,
                f"row {skipped + 1}: values are separated by {other!r}; save it with commas between values, "
                "and a point in numbers",
            )
        if len(next(lines, [])) > 1:
            raise _unreadable(
                path, f"row {skipped + 1} is a title above the header: {header[0][:40]!r}; delete it"
            )
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise _unreadable(path, f"has more than one column {', '.join(map(repr, repeated))}")
    try:
        frame = pl.read_csv(text.encode(), infer_schema=False, separator=separator)
    except pl.exceptions.PolarsError as error:
        ragged = [
            f"row {skipped + lines.line_num}: {len(values)} values"
            for values in lines
            if len(values) > len(header)
        ]
        if not ragged:
            raise _unreadable(path, f"is not CSV: {str(error).splitlines()[0]}") from None
        problem = f"rows have more values than the header's {len(header)}"
        raise DataError(path.name, [Fault("file", problem, len(ragged), tuple(ragged[:SHOWN]))]) from None
    rows = pl.int_range(skipped + 2, len(frame) + skipped + 2, eager=True)
    filled = frame.select(pl.any_horizontal(pl.all().str.strip_chars() != "").fill_null(value=False))
    return frame.filter(filled.to_series()), rows.filter(filled.to_series())


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        match "".join(path.suffixes[-2:]).lower(), path.suffix.lower():
            case _, ".csv":
                pass
            case ".csv.gz", _:
                content = gzip.decompress(content)
            case ".csv.xz", _:
                content = lzma.decompress(content)
            case _:
                raise _unreadable(
                    path, "has none of the names that say its format: .csv, .csv.gz, .csv.xz, .parquet"
                )
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise _unreadable(path, f"is not {path.suffix[1:]}, as its name says: {error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(
            path, f"is not UTF-8 text: byte {content[error.start : error.start + 1]!r} in row {row}"
        ) from None
