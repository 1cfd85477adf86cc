"""The parts of the scoring pipeline: reading questions, answering them in batches, replacing a day's rows.

In a module of their own, and not in the program, so that workers find them by importing them.
"""

import datetime
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apache_beam as beam
import msgspec
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.shared import Shared

from services.batch.errors import BatchError, temporary_errors
from services.batch.partition import Partition
from services.bigquery import RETRY, connect
from services.contracts.decoding import InvalidMessageError, decode
from services.contracts.messages import Days, Key, PredictionRow, SaleRangeRequest
from services.contracts.names import REASON_ATTRIBUTE
from services.contracts.schema import defaults
from services.contracts.tables import Prediction, Score
from services.forecasting.forecast import Forecast, UnknownSeriesError
from services.forecasting.model_registry import ModelRegistry, UnknownVersionError

DEAD: Final = "dead"
ROWS: Final = "rows"
NAMESPACE: Final = "score"
"""Of the pipeline's metrics."""
_BATCH_SIZE: Final = 1000
# What BigQuery recommends (https://cloud.google.com/bigquery/quotas#streaming_inserts).
_ROWS_PER_CALL: Final = 500
_POINTER_SECONDS: Final = 10.0
_SCORE_DEFAULTS: Final = defaults(Score)
_PREDICTION_DEFAULTS: Final = defaults(Prediction)


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked in a batch: a line of a file, or a row of a query."""

    store_nbr: Key | None = None  # all when absent
    family: Key | None = None  # all when absent
    range: Days | None = None  # days from the run date on; --horizon when absent
    request_id: Key | None = None


class Table:
    """A model's rows from some day on, in JSON, but for what differs between questions.

    Args:
        forecast: of the version.
        first: the first day that is asked for; that of the forecast when not given.
        days: most days that are asked for; all of the forecast when not given.

    Raises:
        BatchError: the forecast does not have these days.
    """

    def __init__(self, forecast: Forecast, first: datetime.date | None = None, days: int | None = None):
        self.forecast = forecast
        begin = (first - self.forecast.dates[0]).days if first else 0
        self.days = days or self.forecast.horizon - begin
        if begin < 0 or begin + self.days > self.forecast.horizon:
            raise BatchError(
                f"model {self.forecast.version} forecasts {self.forecast.dates[0]} to "
                f"{self.forecast.dates[-1]}, and {self.days} days from {first} on are asked for; "
                "train on newer sales, or ask for less"
            )
        version = msgspec.json.encode(self.forecast.version)
        count = self.forecast.horizon
        rows = self.forecast.rows(count, range(len(self.forecast.family)))
        tails = [_tail(version, row) for row in rows]
        self._tails = [tails[at + begin : at + begin + self.days] for at in range(0, len(tails), count)]
        keys = zip(self.forecast.store_nbr, self.forecast.family, strict=True)
        self._of_key = {key: (index,) for index, key in enumerate(keys)}

    def series(self, store_nbr: str | None, family: str | None) -> Sequence[int]:
        """The series that are asked for.

        Raises:
            InvalidMessageError: there are none; says which exist.
        """
        if (known := self._of_key.get((store_nbr or "", family or ""))) is not None:
            return known
        try:
            chosen = self.forecast.select(
                store_nbr=[store_nbr] if store_nbr is not None else (),
                family=[family] if family is not None else (),
            )
        except UnknownSeriesError as error:
            raise InvalidMessageError(str(error)) from None
        return chosen.tolist()

    def lines(self, head: bytes, series: Iterable[int], days: int) -> list[bytes]:
        """Rows, one a line: `head`, the fields that come from the question, and those of the forecast."""
        return [head + tail for index in series for tail in self._tails[index][:days]]


def _tail(version: bytes, row: PredictionRow) -> bytes:
    return b'"model_version":' + version + b"," + msgspec.json.encode(row)[1:]


@dataclass(frozen=True)
class ModelSource:
    """Where workers get the model.

    Attributes:
        bucket: of the registry.
        project: of the bucket.
        version: to load; whatever the pointer names, as time goes by, when not given.
        first: see `Table`.
        days: see `Table`.
    """

    bucket: str
    project: str
    version: str | None
    first: datetime.date | None = None
    days: int | None = None

    def current(self) -> str:
        """The version to use now.

        Raises:
            UnknownVersionError: none is published.
        """
        if self.version:
            return self.version
        pointer = ModelRegistry(self.bucket, self.project).pointer()
        if pointer is None:
            raise UnknownVersionError(f"gs://{self.bucket} has no published model")
        return pointer[0].version

    def load(self, version: str) -> Table:
        """A version's rows."""
        return Table(ModelRegistry(self.bucket, self.project).load(version).forecast, self.first, self.days)


_QUESTION: Final = msgspec.json.Decoder(Question)


@dataclass(frozen=True)
class Batch:
    """How a question of a batch is read, and what its rows begin with.

    Attributes:
        run_date: day of the run.
        horizon: days to forecast when the question does not say, and at most.
    """

    run_date: datetime.date
    horizon: int

    def read(self, element: bytes) -> tuple[Question, int]:
        """The question, and for how many days.

        Raises:
            InvalidMessageError: it is none.
        """
        try:
            question = _QUESTION.decode(element)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidMessageError(f"not a question: {error}") from None
        days = question.range or self.horizon
        if days > self.horizon:
            raise InvalidMessageError(f"range must be a whole number of days from 1 to {self.horizon}")
        return question, days

    def head(self, element: bytes, question: Question) -> bytes:
        """The fields of `Score` that do not come from the model."""
        fields = {"run_date": self.run_date, **_SCORE_DEFAULTS}
        if question.request_id is not None:
            fields["request_id"] = question.request_id
        return msgspec.json.encode(fields)[:-1] + b","

    def dead(self, element: bytes, reason: str) -> bytes:
        """A line about a question that cannot be answered."""
        return msgspec.json.encode({"body": element.decode(errors="replace"), REASON_ATTRIBUTE: reason})


@dataclass(frozen=True)
class Stream:
    """How a message is read, and what its rows begin with.

    Attributes:
        max_range: most days that can be asked for.
    """

    max_range: int

    def read(self, element: PubsubMessage) -> tuple[SaleRangeRequest, int]:
        """The request, and for how many days.

        Raises:
            InvalidMessageError: it is none.
        """
        request = decode(element.data or b"", element.message_id or "", self.max_range)
        return request, request.range

    def head(self, element: PubsubMessage, request: SaleRangeRequest) -> bytes:
        """The fields of `Prediction` that come from the request."""
        fields = _PREDICTION_DEFAULTS | {
            "request_id": request.request_id,
            # A datetime of Google's, which msgspec does not know.
            "published_at": element.publish_time and element.publish_time.isoformat(),
            "processed_at": datetime.datetime.now(datetime.UTC),
        }
        return msgspec.json.encode(fields)[:-1] + b","

    def dead(self, element: PubsubMessage, reason: str) -> PubsubMessage:
        """The message with the reason why it cannot be answered."""
        return PubsubMessage(element.data, {**(element.attributes or {}), REASON_ATTRIBUTE: reason})


class Answer(beam.DoFn):
    """Answers batches of questions. The model is loaded once per worker process, not once per thread.

    Yields a block of rows, one a line, for each batch, and the number of its rows under the tag `rows`;
    questions that cannot be answered go under the tag `dead`.
    """

    def __init__(self, source: ModelSource, kind: Batch | Stream):
        self._source = source
        self._kind: Any = kind
        self._shared = Shared()
        self._questions = Metrics.counter(NAMESPACE, "questions")
        self._rows = Metrics.counter(NAMESPACE, "rows")
        self._dead = Metrics.counter(NAMESPACE, "dead_letters")
        self._size = Metrics.distribution(NAMESPACE, "batch_size")
        self._time = Metrics.distribution(NAMESPACE, "batch_microseconds")
        self._looked = 0.0
        self._version = ""

    def setup(self) -> None:
        """Load the model, so that a fault shows before the first question."""
        self._table()

    def _table(self) -> Table:
        if not self._version or (
            not self._source.version and time.monotonic() > self._looked + _POINTER_SECONDS
        ):
            self._version = self._source.current()
            self._looked = time.monotonic()
        version = self._version
        # Kept, since workers hold shared objects by weak references.
        self._held = self._shared.acquire(lambda: self._source.load(version), tag=version)
        return self._held

    def process(self, element: list[Any]) -> Iterator[Any]:
        """Answer a batch."""
        started = time.perf_counter()
        table, kind = self._table(), self._kind
        lines: list[bytes] = []
        dead = 0
        for each in element:
            try:
                question, days = kind.read(each)
                series = table.series(question.store_nbr, question.family)
            except InvalidMessageError as error:
                dead += 1
                yield TaggedOutput(DEAD, kind.dead(each, str(error)))
            else:
                lines += table.lines(kind.head(each, question), series, days)
        if lines:
            yield b"\n".join(lines)
            yield TaggedOutput(ROWS, len(lines))
        self._questions.inc(len(element))
        self._rows.inc(len(lines))
        self._dead.inc(dead)
        self._size.update(len(element))
        self._time.update(int((time.perf_counter() - started) * 1e6))


class Query(beam.DoFn):
    """The rows of a query as questions; results are read page by page."""

    def process(self, element: tuple[str, str]) -> Iterator[bytes]:
        """Run `(project, query)`."""
        project, query = element
        with temporary_errors(), connect(project) as client:
            for row in client.query(query, retry=RETRY).result(page_size=10_000, retry=RETRY):
                yield msgspec.json.encode(dict(row.items()))


class WriteLines(beam.DoFn):
    """Writes blocks of lines into files of their own, one a bundle; yields the names of files.

    A bundle that is tried again writes another file, and the name of the first gets no further: whoever reads
    the files named reads every line once, and nothing has to be renamed.
    """

    def __init__(self, prefix: str):
        self._prefix = prefix

    def start_bundle(self) -> None:
        """A file is opened with the first block."""
        self._file: Any = None

    def process(self, element: bytes) -> None:
        """Write a block."""
        if self._file is None:
            self._name = f"{self._prefix}-{uuid.uuid4().hex}.json"
            self._file = FileSystems.create(self._name, compression_type=CompressionTypes.UNCOMPRESSED)
        self._file.write(element + b"\n")

    def finish_bundle(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Close the file."""
        if self._file is not None:
            self._file.close()
            yield GlobalWindows.windowed_value(self._name)


class Replace(beam.DoFn):
    """Replaces a day's rows in the table once all of them are in files."""

    def __init__(self, partition: Partition):
        self._partition = partition

    def process(self, element: None, files: list[str], counts: list[int]) -> Iterator[int]:
        """Load `files`, which hold as many rows as `counts` say."""
        with temporary_errors():
            self._partition.replace(files, sum(counts))
        yield sum(counts)


class Save(beam.DoFn):
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
            errors = self._client.insert_rows_json(self._name, chunk, row_ids=ids, retry=RETRY)
            if errors:  # the runner tries the bundle again; ids keep rows from being there twice
                raise BatchError(f"{self._name}: {errors[0]}")


def answer(questions: Any, source: ModelSource, kind: Batch | Stream) -> Any:
    """Batch the questions and answer them; see `Answer` for what comes out under which tag."""
    return (
        questions
        | "batch" >> beam.BatchElements(min_batch_size=_BATCH_SIZE // 10, max_batch_size=_BATCH_SIZE)
        | "forecast" >> beam.ParDo(Answer(source, kind)).with_outputs(DEAD, ROWS, main="blocks")
    )
