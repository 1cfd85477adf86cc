"""BigQuery clients of all services and commands, and how long they wait for an answer."""

import datetime
import os
from typing import Any, Final

import google.auth
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.cloud.bigquery.table import RowIterator

REQUEST_SECONDS: Final = 20.0
RETRY: Final = DEFAULT_RETRY.with_timeout(40.0)
"""The client's default of 600 s is too long for a person or a worker to wait for an absent server."""


class _Session(AuthorizedSession):
    """Bounds every request: the client sends most of them without a timeout, and retries bound none."""

    def request(self, method: str, url: str, timeout: Any = None, **options: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Send a request. An upload may take as long as its caller says."""
        if timeout is None or "/upload/" not in url:
            timeout = REQUEST_SECONDS
        return super().request(method, url, timeout=timeout, **options)


def connect(project: str) -> bigquery.Client:
    """A client for a project, or for the emulator at BIGQUERY_EMULATOR_HOST."""
    # The client finds the emulator by itself, but looks for the user's credentials nevertheless.
    if "BIGQUERY_EMULATOR_HOST" in os.environ:
        credentials = AnonymousCredentials()
    else:
        credentials, _ = google.auth.default(scopes=bigquery.Client.SCOPE)  # pyright: ignore[reportUnknownMemberType]
    return bigquery.Client(project, credentials=credentials, _http=_Session(credentials))


def query(
    client: bigquery.Client, statement: str, page_size: int | None = None, **parameters: datetime.date | str
) -> RowIterator:
    """The rows of a statement, whose parameters are named `@name` in it; GoogleAPIError if it fails."""
    given = [
        bigquery.ScalarQueryParameter(name, "STRING" if isinstance(value, str) else "DATE", value)
        for name, value in parameters.items()
    ]
    # With `job_retry` the client repeats jobs.insert for 600 s, whatever `retry` says.
    job_config = bigquery.QueryJobConfig(query_parameters=given)
    job = client.query(statement, job_config=job_config, retry=RETRY, job_retry=None)
    return job.result(page_size=page_size, retry=RETRY, job_retry=None)  # pyright: ignore[reportReturnType]
