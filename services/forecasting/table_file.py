"""Read CSV and Parquet files into frames, with errors that name the line."""

import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from services.forecasting.sales_faults import SHOWN, DataError, Fault


def _unreadable(path: Path, problem: str) -> DataError:
    return DataError(path.name, [Fault("file", problem, 1)])


def read_parquet(path: Path) -> pl.DataFrame:
    """Read the columns of a Parquet file.

    Raises:
        DataError: it is not Parquet.
    """
    try:
        return pl.read_parquet(path.read_bytes())
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, f"is not Parquet, as its name says: {error}") from None


def read_csv(path: Path) -> pl.DataFrame:
    """Read the columns of a CSV file as text; empty values are null.

    Raises:
        DataError: it is not CSV.
    """
    text = _text(path)
    header = next(csv.reader(io.StringIO(text[: text.find("\n") + 1] or text)), [])
    if not header:
        raise _unreadable(path, "is empty")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise _unreadable(path, f"has more than one column {', '.join(map(repr, repeated))}")
    try:
        return pl.read_csv(text.encode(), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        ragged = list(_ragged_rows(text, len(header)))
        if not ragged:
            raise _unreadable(path, f"is not CSV: {str(error).splitlines()[0]}") from None
        fault = Fault("file", f"rows have more values than the header's {len(header)}", len(ragged))
        raise DataError(
            path.name, [Fault(fault.column, fault.problem, fault.total, tuple(ragged[:SHOWN]))]
        ) from None


def _ragged_rows(text: str, width: int) -> Iterator[str]:
    reader = csv.reader(io.StringIO(text))
    for values in reader:
        if len(values) > width:
            yield f"row {reader.line_num}: {len(values)} values"


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
