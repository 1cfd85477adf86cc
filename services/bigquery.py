"""How every service and command reaches BigQuery."""

import os

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery


def connect(project: str) -> bigquery.Client:
    """A client of BigQuery in a project, or of the emulator where BIGQUERY_EMULATOR_HOST is set."""
    # The client finds the emulator by itself, but looks for the user's credentials even so.
    emulated = "BIGQUERY_EMULATOR_HOST" in os.environ
    return bigquery.Client(project, credentials=AnonymousCredentials() if emulated else None)
