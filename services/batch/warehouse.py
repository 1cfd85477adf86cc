"""The table of daily sales in BigQuery."""

import io

import polars as pl
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from services.bigquery import connect
from services.forecasting.panel import Panel

# The client's own limit, 600 s, would keep a person waiting for a server that is gone.
_RETRY = DEFAULT_RETRY.with_timeout(60.0)

# One row per series: a result of a few arrays is read many times faster than one of many rows.
_QUERY = """
SELECT store_nbr, family,
       ARRAY_AGG(UNIX_DATE(date) ORDER BY date) AS date,
       ARRAY_AGG(sales ORDER BY date) AS sales,
       ARRAY_AGG(IFNULL(onpromotion, -1) ORDER BY date) AS onpromotion
FROM `{table}`
GROUP BY store_nbr, family
"""


class LoadError(Exception):
    """BigQuery did not load what it was given."""


class SalesTable:
    """Daily sales in `project.dataset.table`, which exists already.

    Every method raises `google.api_core.exceptions.GoogleAPIError`, or a `requests` exception, when the
    table is absent or BigQuery cannot be reached.
    """

    def __init__(self, name: str):
        """Address the table."""
        self._client = connect(name.split(".")[0])
        self._name = name

    def read(self) -> Panel:
        """All sales.

        Raises:
            UnusableSalesError: the table is empty, or its series have gaps or repeated days.
        """
        self._client.get_table(self._name, retry=_RETRY)
        query = self._client.query(_QUERY.format(table=self._name), retry=_RETRY)
        columns: dict[str, list[object]] = {field: [] for field in _SCHEMA}
        for row in query.result(retry=_RETRY):
            for field, values in row.items():
                columns[field].append(values)
        frame = (
            pl.DataFrame(columns, schema=_SCHEMA)
            .explode("date", "sales", "onpromotion")
            .with_columns(pl.col("date").cast(pl.Int32).cast(pl.Date))
        )
        if (frame["onpromotion"] == -1).all():
            frame = frame.drop("onpromotion")
        return Panel.from_frame(frame)

    def replace(self, frame: pl.DataFrame) -> None:
        """Replace all rows by those of `frame`: all of them, or none when it fails.

        Raises:
            LoadError: the table did not get every row.
        """
        table = self._client.get_table(self._name, retry=_RETRY)
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
        job.result(retry=_RETRY)
        if job.output_rows != len(frame):
            raise LoadError(f"{self._name}: {job.output_rows} of {len(frame)} rows were loaded; load again")


_SCHEMA = {
    "store_nbr": pl.String,
    "family": pl.String,
    "date": pl.List(pl.Int64),
    "sales": pl.List(pl.Float64),
    "onpromotion": pl.List(pl.Int64),
}
