"""Batch commands: `python -m services.batch.<ingest|train|publish>`.

Each prints one line of JSON on success, and on failure one message on standard error, exiting with 1.
Settings are `services.contracts.settings.BatchSettings`, from environment variables;
BIGQUERY_EMULATOR_HOST and STORAGE_EMULATOR_HOST, where set, take the place of Google Cloud.
"""
