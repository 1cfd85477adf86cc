"""The tables in BigQuery: daily sales, and scores by the day they are made for."""

import datetime
import io
from collections.abc import Iterator, Sequence

import polars as pl
from google.cloud import bigquery

from services.batch.errors import BatchError, temporary_errors
from services.bigquery import REQUEST_SECONDS, RETRY, connect, query
from services.contracts.model import HORIZON_DAYS
from services.contracts.schema import bigquery_schema
from services.contracts.tables import Score
from services.forecasting.panel import Panel, UnusableSalesError
from services.forecasting.sales_file import COLUMNS, KEY, Type, with_values

# One row per series: a result of a few long texts is read many times faster than one of many rows.
# The days from @before to @until may have planned promotions, which have no sales.
_QUERY = """
SELECT store_nbr, family, TO_JSON_STRING(ARRAY_AGG(STRUCT({fields}) ORDER BY date)) AS days FROM `{table}`
WHERE date < @until AND (date < @before OR sales IS NULL)
GROUP BY store_nbr, family
"""
_LATEST = """
SELECT store_nbr, family, MAX(date) AS last_date FROM `{table}` WHERE date < @before AND sales IS NOT NULL
GROUP BY store_nbr, family
"""
# How values are read. Numbers are texts, since those of JSON are neither infinite nor exact beyond 2**53.
_READ: dict[type[pl.DataType], tuple[str, Type]] = {
    pl.Date: ("UNIX_DATE({})", pl.Int32),
    pl.Datetime: ("UNIX_MICROS({})", pl.Int64),
    pl.Boolean: ("{}", pl.Boolean),
}
_READ_OTHERS: tuple[str, Type] = ("CAST({} AS STRING)", pl.String)
_UPLOAD_BYTES_A_SECOND = 1_000_000  # at least

_COUNT = "SELECT COUNT(*) AS found, COUNTIF(run_date = @day) AS of_day FROM `{table}`"
# One statement, hence all or nothing, and it touches no other day:
# https://cloud.google.com/bigquery/docs/using-dml-with-partitioned-tables
_REPLACE = """
MERGE `{table}` AS kept USING `{staged}` AS new ON FALSE
WHEN NOT MATCHED BY SOURCE AND kept.run_date = @day THEN DELETE
WHEN NOT MATCHED BY TARGET THEN INSERT ({columns}) VALUES ({columns})
"""


def check_newest(table: str, newest: datetime.date | None, run_date: datetime.date) -> None:
    """Raise BatchError unless the newest sales before a run are those of the day before it."""
    day = run_date - datetime.timedelta(days=1)
    if newest != day:
        found = f"the newest is {newest}" if newest else "there is none at all"
        raise BatchError(f"{table} has no sales of {day}; {found}. Load the day, then run this again")


class SalesTable:
    """Daily sales in `project.dataset.table`, which exists already.

    Every method raises `google.api_core.exceptions.GoogleAPIError`, or a `requests` exception, when the
    table is absent or BigQuery cannot be reached.
    """

    def __init__(self, name: str):
        self._client = connect(name.split(".")[0])
        self._name = name

    def read(self, before: datetime.date = datetime.date.max) -> Panel:
        """All sales until the day before; UnusableSalesError if none, or if days are missing or repeated."""
        return Panel.from_frame(self.frame(before))

    def frame(self, before: datetime.date = datetime.date.max) -> pl.DataFrame:
        """The rows until the day before, and the promotions planned from it on, sorted by series and date.

        Columns that have no value are left out.
        """
        fields: list[str] = []
        schema: dict[str, Type] = {}
        for name, kind in COLUMNS.items():
            if name not in KEY:
                expression, schema[name] = _READ.get(kind.base_type(), _READ_OTHERS)
                fields.append(f"{expression.format(name)} AS {name}")
        until = before + min(datetime.date.max - before, datetime.timedelta(days=HORIZON_DAYS))
        rows = self._rows(_QUERY.replace("{fields}", ", ".join(fields)), before=before, until=until)
        frame = (
            pl.DataFrame(
                [row.values() for row in rows], dict.fromkeys((*KEY, "days"), pl.String), orient="row"
            )
            .with_columns(pl.col("days").str.json_decode(pl.List(pl.Struct(schema))))
            .explode("days")
            .unnest("days")
            .with_columns(pl.col(name).cast(COLUMNS[name]) for name in schema)
        )
        return frame.select(with_values(frame)).sort(*KEY, "date")

    def latest(self, before: datetime.date = datetime.date.max) -> dict[tuple[str, str], datetime.date]:
        """The last day of each series (store, family) until the day before."""
        rows = self._rows(_LATEST, before=before)
        return {(row["store_nbr"], row["family"]): row["last_date"] for row in rows}

    def newest(self) -> datetime.date:
        """The last day there is. Raises UnusableSalesError if there is none."""
        latest = self.latest()
        if not latest:
            raise UnusableSalesError(f"{self._name} is empty")
        return max(latest.values())

    def _rows(self, statement: str, **days: datetime.date) -> Iterator[bigquery.Row]:
        self._client.get_table(self._name, retry=RETRY)
        yield from query(self._client, statement.format(table=self._name), None, **days)

    def replace(self, frame: pl.DataFrame) -> None:
        """Replace all rows by those of `frame`: all of them, or none when it fails.

        Raises:
            BatchError: the table did not get every row.
        """
        # A load that replaces the rows replaces the schema as well; JSON keeps the modes of columns, which
        # Parquet, where all may be null, does not, and tells NULL from an empty text, which CSV does not.
        content = frame.write_ndjson().encode()
        job = self._client.load_table_from_file(
            io.BytesIO(content),
            self._name,
            num_retries=1,
            job_config=bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
                schema=self._client.get_table(self._name, retry=RETRY).schema,
                write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            ),
            timeout=REQUEST_SECONDS + len(content) / _UPLOAD_BYTES_A_SECOND,
        )
        job.result(retry=RETRY)
        if job.output_rows != len(frame):
            raise BatchError(f"{self._name}: {job.output_rows} of {len(frame)} rows were loaded; load again")


@temporary_errors()
def replace_day(
    table: str, staging_dataset: str, day: datetime.date, files: Sequence[str], counts: Sequence[int]
) -> None:
    """Replace a day's scores by those in `files`: all of them, or none when it fails.

    Files are `gs://` objects with a row of JSON on each line, as many as `counts` adds up to, all of the day.
    They are checked in a table of the staging dataset first. Doing it again gives the same table.

    Raises:
        BatchError: the files have another number of rows, rows of another day, or none.
        GoogleAPIError: BigQuery refused a row.
    """
    rows = sum(counts)
    if not rows:
        raise BatchError(f"no rows for run_date {day}; {table} keeps what it has")
    columns = bigquery_schema(Score)
    project, _, name = table.split(".")
    staged = f"{staging_dataset}.{name}_{day:%Y%m%d}"
    with connect(project) as client:
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
