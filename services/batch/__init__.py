"""Batch commands: `python -m services.batch.<name>`, and the DAGs that run them.

Each prints one line of JSON on success, and on failure one message on standard error, exiting with 1, or
with 75 when trying again may help. RESULT_FILE, where set, names a file that gets the JSON, too.
Settings are `services.contracts.settings.BatchSettings`, from environment variables;
BIGQUERY_EMULATOR_HOST and STORAGE_EMULATOR_HOST, where set, take the place of Google Cloud.
"""
