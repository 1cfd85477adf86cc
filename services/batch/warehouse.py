"""The table of daily sales in BigQuery."""

import datetime
import io
from collections.abc import Iterator

import polars as pl
from google.cloud import bigquery

from services.batch.errors import BatchError
from services.bigquery import RETRY, connect
from services.forecasting.panel import Panel, UnusableSalesError

# One row per series: a result of a few arrays is read many times faster than one of many rows.
_QUERY = """
SELECT store_nbr, family,
       ARRAY_AGG(UNIX_DATE(date) ORDER BY date) AS date,
       ARRAY_AGG(sales ORDER BY date) AS sales,
       ARRAY_AGG(IFNULL(onpromotion, -1) ORDER BY date) AS onpromotion
FROM `{table}`
WHERE date < @before
GROUP BY store_nbr, family
"""

_LATEST = """
SELECT store_nbr, family, MAX(date) AS last_date FROM `{table}` WHERE date < @before
GROUP BY store_nbr, family
"""


class SalesTable:
    """Daily sales in `project.dataset.table`, which exists already.

    Every method raises `google.api_core.exceptions.GoogleAPIError`, or a `requests` exception, when the
    table is absent or BigQuery cannot be reached.
    """

    def __init__(self, name: str):
        """Address the table."""
        self._client = connect(name.split(".")[0])
        self._name = name

    def read(self, before: datetime.date = datetime.date.max) -> Panel:
        """All sales until the day before.

        Raises:
            UnusableSalesError: there are none, or the series have gaps or repeated days.
        """
        return Panel.from_frame(self.frame(before))

    def frame(self, before: datetime.date = datetime.date.max) -> pl.DataFrame:
        """The rows until the day before, as they are; without `onpromotion` when none has it."""
        columns: dict[str, list[object]] = {field: [] for field in _SCHEMA}
        for row in self._rows(_QUERY, before):
            for field, values in row.items():
                columns[field].append(values)
        frame = (
            pl.DataFrame(columns, schema=_SCHEMA)
            .explode("date", "sales", "onpromotion")
            .with_columns(pl.col("date").cast(pl.Int32).cast(pl.Date))
        )
        if (frame["onpromotion"] == -1).all():
            frame = frame.drop("onpromotion")
        return frame

    def latest(self, before: datetime.date) -> dict[tuple[str, str], datetime.date]:
        """The last day of each series (store, family) until the day before."""
        rows = self._rows(_LATEST, before)
        return {(row["store_nbr"], row["family"]): row["last_date"] for row in rows}

    def newest(self) -> datetime.date:
        """The last day there is.

        Raises:
            UnusableSalesError: there is none.
        """
        latest = self.latest(datetime.date.max)
        if not latest:
            raise UnusableSalesError(f"{self._name} is empty")
        return max(latest.values())

    def _rows(self, query: str, before: datetime.date) -> Iterator[bigquery.Row]:
        self._client.get_table(self._name, retry=RETRY)
        day = bigquery.QueryJobConfig(
            query_parameters=[bigquery.ScalarQueryParameter("before", "DATE", before)]
        )
        job = self._client.query(query.format(table=self._name), job_config=day, retry=RETRY)
        yield from job.result(retry=RETRY)

    def replace(self, frame: pl.DataFrame) -> None:
        """Replace all rows by those of `frame`: all of them, or none when it fails.

        Raises:
            BatchError: the table did not get every row.
        """
        table = self._client.get_table(self._name, retry=RETRY)
        # Every column of the table, since a load that replaces the rows replaces the schema as well. CSV
        # keeps the modes of columns, which Parquet, where all may be null, does not.
        absent = [pl.lit(None).alias(field.name) for field in table.schema if field.name not in frame.columns]
        whole = frame.with_columns(absent).select(field.name for field in table.schema)
        job = self._client.load_table_from_file(
            io.BytesIO(whole.write_csv().encode()),
            table,
            job_config=bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.CSV,
                skip_leading_rows=1,
                allow_quoted_newlines=True,
                schema=table.schema,
                write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            ),
        )
        job.result(retry=RETRY)
        if job.output_rows != len(frame):
            raise BatchError(f"{self._name}: {job.output_rows} of {len(frame)} rows were loaded; load again")


_SCHEMA = {
    "store_nbr": pl.String,
    "family": pl.String,
    "date": pl.List(pl.Int64),
    "sales": pl.List(pl.Float64),
    "onpromotion": pl.List(pl.Int64),
}
