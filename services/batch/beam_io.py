"""Transforms of the scoring pipeline that read and write: BigQuery and files."""

import datetime
import io
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import msgspec
from apache_beam.transforms.window import GlobalWindows
from google.cloud import bigquery

from services.batch import staging
from services.batch.errors import BatchError, temporary_errors
from services.bigquery import RETRY, connect, query
from services.contracts.schema import bigquery_schema
from services.contracts.tables import Score

# What BigQuery recommends (https://cloud.google.com/bigquery/quotas#streaming_inserts).
_ROWS_PER_CALL: Final = 500


_COUNT = "SELECT COUNT(*) AS found, COUNTIF(run_date = @day) AS of_day FROM `{table}`"
# One statement, hence all or nothing, and it touches no other day:
# https://cloud.google.com/bigquery/docs/using-dml-with-partitioned-tables
_REPLACE = """
MERGE `{table}` AS kept USING `{staged}` AS new ON FALSE
WHEN NOT MATCHED BY SOURCE AND kept.run_date = @day THEN DELETE
WHEN NOT MATCHED BY TARGET THEN INSERT ({columns}) VALUES ({columns})
"""


def replace_day(
    table: str, staging_dataset: str, day: datetime.date, files: Sequence[str], rows: int
) -> None:
    """Replace the rows of a `run_date` by those in `files`: all of them, or none when it fails.

    Doing it again gives the same table.

    Args:
        table: `project.dataset.table` of scores.
        staging_dataset: `project.dataset` for a table that holds the new rows until they are checked.
        day: the `run_date`.
        files: `gs://` objects with a row of JSON on each line.
        rows: how many rows they should have.

    Raises:
        BatchError: the files have another number of rows, rows of another day, or none.
        google.api_core.exceptions.GoogleAPIError: BigQuery refused a row, or cannot be reached.
    """
    if not rows:
        raise BatchError(f"no rows for run_date {day}; {table} keeps what it has")
    columns = bigquery_schema(Score)
    name = table.split(".")[2]
    staged = f"{staging_dataset}.{name}_{day:%Y%m%d}"
    with connect(table.split(".")[0]) as client:
        client.load_table_from_uri(
            files,
            staged,
            job_config=bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
                write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
                schema=[bigquery.SchemaField.from_api_repr(column) for column in columns],
            ),
            retry=RETRY,
        ).result(retry=RETRY)
        [row] = query(client, _COUNT.format(table=staged), day=day)
        if (row["found"], row["of_day"]) != (rows, rows):
            raise BatchError(
                f"{staged} has {row['found']} rows, {row['of_day']} of them of {day}, and should "
                f"have {rows}; {table} keeps what it has"
            )
        names = ", ".join(column["name"] for column in columns)
        query(client, _REPLACE.format(table=table, staged=staged, columns=names), day=day)
        client.delete_table(staged, not_found_ok=True, retry=RETRY)


class QueryRows(beam.DoFn):
    """Rows of a query in JSON, read page by page."""

    def process(self, element: tuple[str, str]) -> Iterator[bytes]:
        """Run `(project, statement)`."""
        project, statement = element
        with temporary_errors(), connect(project) as client:
            for row in query(client, statement, page_size=10_000):
                yield msgspec.json.encode(dict(row.items()))


class WriteLines(beam.DoFn):
    """Writes blocks of lines into a file per bundle; yields the names of the files.

    A repeated bundle writes another file, and the name of the first one gets no further: whoever reads the
    named files reads each line once, and no file has to be renamed.
    """

    def __init__(self, project: str, prefix: str):
        self._project = project
        self._prefix = prefix

    def start_bundle(self) -> None:
        """The first block opens a file."""
        self._file: io.BufferedIOBase | None = None

    def process(self, element: bytes) -> None:
        """Write a block."""
        with temporary_errors():
            if self._file is None:
                self._name = f"{self._prefix}-{uuid.uuid4().hex}.json"
                if self._name.startswith("gs://"):  # Beam's own client waits for minutes
                    self._file = staging.create(self._project, self._name)
                else:
                    self._file = Path(self._name).open("wb")  # noqa: SIM115 -- of a bundle
            self._file.write(element + b"\n")

    def finish_bundle(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Close the file."""
        if self._file is not None:
            with temporary_errors():
                self._file.close()
            yield GlobalWindows.windowed_value(self._name)


class ReplaceDay(beam.DoFn):
    """Replaces a day's rows in the table once all of them are in files."""

    def __init__(self, table: str, staging_dataset: str, day: datetime.date):
        self._day = table, staging_dataset, day

    def process(self, element: None, files: list[str], counts: list[int]) -> None:
        """Load `files`, whose number of rows is the sum of `counts`."""
        with temporary_errors():
            replace_day(*self._day, files, sum(counts))


class InsertRows(beam.DoFn):
    """Streams blocks of rows into the table of predictions."""

    def __init__(self, table: str):
        self._name = table

    def setup(self) -> None:
        """Connect."""
        self._client = connect(self._name.split(".")[0])

    def process(self, element: bytes) -> None:
        """Save the rows of a block."""
        rows = [msgspec.json.decode(line) for line in element.split(b"\n")]
        for at in range(0, len(rows), _ROWS_PER_CALL):
            chunk = rows[at : at + _ROWS_PER_CALL]
            ids = ["{request_id}-{model_version}-{store_nbr}-{family}-{date}".format(**row) for row in chunk]
            with temporary_errors():
                errors = self._client.insert_rows_json(self._name, chunk, row_ids=ids, retry=RETRY)
            if errors:  # the runner repeats the bundle; the ids keep BigQuery from saving rows twice
                raise BatchError(f"{self._name}: {errors[0]}")
