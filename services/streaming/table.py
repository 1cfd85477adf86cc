"""The BigQuery table of predictions."""

from collections.abc import Sequence
from typing import Any, Final

from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from services.bigquery import connect

_REQUEST_SECONDS: Final = 10
_RETRY_SECONDS: Final = 5  # the worker itself goes on trying


class InsertError(Exception):
    """BigQuery refused rows; none of the call's rows was saved."""


class PredictionsTable:
    """Streams rows into the table.

    Args:
        name: `project.dataset.table`.
    """

    # Of one call; what BigQuery recommends (https://cloud.google.com/bigquery/quotas#streaming_inserts).
    ROWS_PER_CALL: Final = 500

    def __init__(self, name: str) -> None:
        self._table = bigquery.TableReference.from_string(name)
        self._client = connect(self._table.project)

    def insert(self, rows: Sequence[dict[str, Any]], ids: Sequence[str]) -> None:
        """Save at most `ROWS_PER_CALL` rows; they are durable when this returns.

        Args:
            rows: Rows in JSON's types.
            ids: An id of each row, by which BigQuery drops repetitions within about a minute.

        Raises:
            InsertError: BigQuery refused the rows.
            google.api_core.exceptions.GoogleAPIError: BigQuery cannot be reached, or has no such table.
            requests.RequestException: BigQuery cannot be reached.
        """
        errors = self._client.insert_rows_json(
            self._table,
            rows,
            row_ids=ids,
            timeout=_REQUEST_SECONDS,
            retry=DEFAULT_RETRY.with_timeout(_RETRY_SECONDS),
        )
        if errors:
            raise InsertError(f"{self._table}: {errors[0]}")
