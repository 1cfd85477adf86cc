"""How every service and command reaches BigQuery."""

import os

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

RETRY = DEFAULT_RETRY.with_timeout(60.0)
"""The client's own limit, 600 s, would keep a person or a worker waiting for a server that is gone."""


def connect(project: str) -> bigquery.Client:
    """A client of BigQuery in a project, or of the emulator where BIGQUERY_EMULATOR_HOST is set."""
    # The client finds the emulator by itself, but looks for the user's credentials even so.
    emulated = "BIGQUERY_EMULATOR_HOST" in os.environ
    return bigquery.Client(project, credentials=AnonymousCredentials() if emulated else None)
