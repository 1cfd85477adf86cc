"""A day of a table of scores in BigQuery, replaced as a whole."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from google.cloud import bigquery

from services.batch.errors import BatchError
from services.bigquery import RETRY, connect, query
from services.contracts.schema import bigquery_schema
from services.contracts.tables import Score

_COUNT = "SELECT COUNT(*) AS found, COUNTIF(run_date = @day) AS of_day FROM `{table}`"
# One statement, hence all or nothing, and it touches no other day:
# https://cloud.google.com/bigquery/docs/using-dml-with-partitioned-tables
_REPLACE = """
MERGE `{table}` AS kept USING `{staged}` AS new ON FALSE
WHEN NOT MATCHED BY SOURCE AND kept.run_date = @day THEN DELETE
WHEN NOT MATCHED BY TARGET THEN INSERT ({columns}) VALUES ({columns})
"""


@dataclass(frozen=True)
class Partition:
    """The rows of one day.

    Attributes:
        table: `project.dataset.table`.
        staging: `project.dataset` for a table that holds the new rows until they are checked.
        day: their `run_date`.
    """

    table: str
    staging: str
    day: datetime.date

    def replace(self, files: Sequence[str], rows: int) -> None:
        """Replace the day's rows by those in `files`: all of them, or none when it fails.

        Doing it again gives the same table.

        Args:
            files: `gs://` objects with a row of JSON on each line.
            rows: how many rows they should have.

        Raises:
            BatchError: the files have another number of rows, rows of another day, or none.
            google.api_core.exceptions.GoogleAPIError: BigQuery refused a row, or cannot be reached.
        """
        if not rows:
            raise BatchError(f"no rows for run_date {self.day}; {self.table} keeps what it has")
        columns = bigquery_schema(Score)
        name = self.table.split(".")[2]
        staged = f"{self.staging}.{name}_{self.day:%Y%m%d}"
        with connect(self.table.split(".")[0]) as client:
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
            [row] = query(client, _COUNT.format(table=staged), day=self.day)
            if (row["found"], row["of_day"]) != (rows, rows):
                raise BatchError(
                    f"{staged} has {row['found']} rows, {row['of_day']} of them of {self.day}, and should "
                    f"have {rows}; {self.table} keeps what it has"
                )
            names = ", ".join(column["name"] for column in columns)
            query(client, _REPLACE.format(table=self.table, staged=staged, columns=names), day=self.day)
            client.delete_table(staged, not_found_ok=True, retry=RETRY)
