"""Transforms of the scoring pipeline that read and write: BigQuery and files."""

import io
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import msgspec
from apache_beam.transforms.window import GlobalWindows

from services.batch import staging
from services.batch.errors import BatchError, temporary_errors
from services.bigquery import RETRY, connect, query

# What BigQuery recommends (https://cloud.google.com/bigquery/quotas#streaming_inserts).
_ROWS_PER_CALL: Final = 500


def query_rows(statement: str, project: str) -> Iterator[bytes]:
    """The rows of a query in JSON, read page by page."""
    with temporary_errors(), connect(project) as client:
        for row in query(client, statement, page_size=10_000):
            yield msgspec.json.encode(dict(row.items()))


class WriteLines(beam.DoFn):
    """Writes blocks of lines into a file per bundle; yields the names of the files.

    A repeated bundle writes another file, and the name of the first one gets no further: whoever reads the
    named files reads each line once, and no file has to be renamed.
    """

    def __init__(self, project: str, prefix: str):
        self._project = project
        self._prefix = prefix

    def start_bundle(self) -> None:
        """The first block opens a file."""
        self._file: io.BufferedIOBase | None = None

    def process(self, element: bytes) -> None:
        """Write a block."""
        with temporary_errors():
            if self._file is None:
                self._name = f"{self._prefix}-{uuid.uuid4().hex}.json"
                if self._name.startswith("gs://"):  # Beam's own client waits for minutes
                    self._file = staging.create(self._project, self._name)
                else:
                    self._file = Path(self._name).open("wb")  # noqa: SIM115 -- of a bundle
            self._file.write(element + b"\n")

    def finish_bundle(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Close the file."""
        if self._file is not None:
            with temporary_errors():
                self._file.close()
            yield GlobalWindows.windowed_value(self._name)


class InsertRows(beam.DoFn):
    """Streams blocks of rows into the table of predictions."""

    def __init__(self, table: str):
        self._name = table

    def setup(self) -> None:
        """Connect."""
        self._client = connect(self._name.split(".")[0])

    def process(self, element: bytes) -> None:
        """Save the rows of a block."""
        rows = [msgspec.json.decode(line) for line in element.split(b"\n")]
        for at in range(0, len(rows), _ROWS_PER_CALL):
            chunk = rows[at : at + _ROWS_PER_CALL]
            ids = ["{request_id}-{model_version}-{store_nbr}-{family}-{date}".format(**row) for row in chunk]
            with temporary_errors():
                errors = self._client.insert_rows_json(self._name, chunk, row_ids=ids, retry=RETRY)
            if errors:  # the runner repeats the bundle; the ids keep BigQuery from saving rows twice
                raise BatchError(f"{self._name}: {errors[0]}")
