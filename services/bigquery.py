"""BigQuery clients of all services and commands."""

import os

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

RETRY = DEFAULT_RETRY.with_timeout(60.0)
"""The client's default of 600 s is too long for a person or a worker to wait for an absent server."""


def connect(project: str) -> bigquery.Client:
    """A client for a project, or for the emulator at BIGQUERY_EMULATOR_HOST."""
    # The client finds the emulator by itself, but looks for the user's credentials nevertheless.
    emulated = "BIGQUERY_EMULATOR_HOST" in os.environ
    return bigquery.Client(project, credentials=AnonymousCredentials() if emulated else None)
