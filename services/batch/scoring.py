"""Answers the questions and messages of the scoring pipeline with the rows of a model.

Apart from the program, so that workers import what they run.
"""

import datetime
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apache_beam as beam
import msgspec
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from services.answers import Answers, InvalidMessageError, Outgoing, Replies, dead_letter, decode
from services.batch.errors import BatchError, temporary_errors
from services.contracts.messages import Days, Key
from services.contracts.names import REASON_ATTRIBUTE
from services.contracts.schema import defaults
from services.contracts.tables import Prediction, Score
from services.forecasting.forecast import Forecast
from services.forecasting.model_registry import ModelRegistry, UnknownVersionError

DEAD: Final = "dead"
ROWS: Final = "rows"
NAMESPACE: Final = "score"  # of the pipeline's metrics
_BATCH_SIZE: Final = 1000
_BLOCK_ROWS: Final = 10_000
"""About as many are in memory: one question may ask for every day of every series."""
_POINTER_SECONDS: Final = 10.0
_SCORE_DEFAULTS: Final = defaults(Score)
_PREDICTION_DEFAULTS: Final = defaults(Prediction)


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question of a batch: a line of a file, or a row of a query."""

    store_nbr: Key | None = None  # all when absent
    family: Key | None = None  # all when absent
    range: Days | None = None  # days from the run date on, at most --horizon, which it is when absent
    request_id: Key | None = None


_QUESTION: Final = msgspec.json.Decoder(Question)


class ScoreLines(Replies):
    """Builds replies, and rows of a table in JSON, from a forecast's days.

    Args:
        forecast: of a version.
        first: the first day asked for; that of the forecast when not given.
        days: most days asked for; all of the forecast when not given.

    Raises:
        BatchError: the forecast does not have these days.
    """

    def __init__(self, forecast: Forecast, first: datetime.date | None = None, days: int | None = None):
        begin, days = _reach(forecast.version, forecast.dates[0], forecast.horizon, first, days)
        super().__init__(forecast, days, begin)
        self._run_date = forecast.dates[begin]
        self._model_version = b',"model_version":%b,' % msgspec.json.encode(self.version)

    def answer(self, question: Question) -> Iterator[list[bytes]]:
        """Rows of `Score` that answer a question, by series.

        Raises:
            InvalidMessageError: it asks for more days than there are, or for none of the series.
        """
        days = question.range or self.max_range
        if days > self.max_range:
            raise InvalidMessageError(f"range must be a whole number of days from 1 to {self.max_range}")
        fields = {"run_date": self._run_date, **_SCORE_DEFAULTS}
        if question.request_id is not None:
            fields["request_id"] = question.request_id
        return self.lines(fields, self.series(question.store_nbr, question.family), days)

    def lines(self, fields: dict[str, Any], series: Iterable[int], days: int) -> Iterator[list[bytes]]:
        """A line per row, by series: the columns in `fields`, then those of the model."""
        head = msgspec.json.encode(fields)[:-1] + self._model_version
        for index in series:
            yield [head + row[1:] for row in self._rows(index)[:days]]


def _reach(
    version: str, begin: datetime.date, horizon: int, first: datetime.date | None, days: int | None
) -> tuple[int, int]:
    """Position of the first day asked for in a forecast, and the number of days."""
    at = (first - begin).days if first else 0
    days = days or horizon - at
    if at < 0 or at + days > horizon:
        end = begin + datetime.timedelta(days=horizon - 1)
        raise BatchError(
            f"model {version} forecasts {begin} to {end}, and {days} days from {first} on are asked for; "
            "train on newer sales, or ask for less"
        )
    return at, days


@dataclass(frozen=True)
class ModelSource:
    """The registry from which workers get the model, and the days of it, as `ScoreLines` takes them."""

    bucket: str
    project: str
    version: str | None  # when not given, what the pointer names at the time
    first: datetime.date | None = None
    days: int | None = None

    def current(self) -> str:
        """The version to use now. Raises UnknownVersionError if none is published."""
        if self.version:
            return self.version
        pointer = ModelRegistry(self.bucket, self.project).pointer()
        if pointer is None:
            raise UnknownVersionError(f"gs://{self.bucket} has no published model")
        return pointer[0].version

    def check(self, version: str) -> None:
        """Look for what every worker would meet, and try again and again, without loading the model.

        Raises UnknownVersionError, CorruptModelError, or BatchError if it does not have the days asked for.
        """
        manifest = ModelRegistry(self.bucket, self.project).check(version)
        begin = manifest.last_date + datetime.timedelta(days=1)
        _reach(version, begin, manifest.horizon, self.first, self.days)

    def load(self, version: str) -> ScoreLines:
        """A version's rows."""
        model = ModelRegistry(self.bucket, self.project).load(version)
        return ScoreLines(model.forecast, self.first, self.days)


class AnswerBatches(beam.DoFn):
    """Answers batches with the model; a worker process loads it once, not once per thread."""

    def __init__(self, source: ModelSource):
        self._source = source
        self._shared = Shared()
        self._look_again = 0.0

    def setup(self) -> None:
        """Load the model, so that a fault shows before the first question."""
        self.model()

    def model(self) -> ScoreLines:
        """The rows of the version to use now."""
        with temporary_errors():
            if time.monotonic() > self._look_again:
                self._version = self._source.current()
                self._look_again = time.monotonic() + _POINTER_SECONDS
            # Kept, since workers hold shared objects by weak references.
            self._held = self._shared.acquire(lambda: self._source.load(self._version), tag=self._version)
        return self._held


def _count(**amounts: int) -> None:
    for name, amount in amounts.items():
        Metrics.counter(NAMESPACE, name).inc(amount)


class Answer(AnswerBatches):
    """Answers batches of questions.

    Yields blocks of rows of `Score`, one a line, and the number of rows in each under the tag `rows`;
    questions that cannot be answered go under the tag `dead`.
    """

    def process(self, element: list[bytes]) -> Iterator[Any]:
        """Answer a batch."""
        model = self.model()
        rows = dead = 0
        lines: list[bytes] = []
        for each in element:
            try:
                answer = model.answer(_question(each))
            except InvalidMessageError as error:
                dead += 1
                letter = {"body": each.decode(errors="replace"), REASON_ATTRIBUTE: str(error)}
                yield TaggedOutput(DEAD, msgspec.json.encode(letter))
            else:
                for of_series in answer:
                    lines += of_series
                    if len(lines) >= _BLOCK_ROWS:
                        yield from _block(lines)
                        rows += len(lines)
                        lines = []
        if lines:
            yield from _block(lines)
        _count(questions=len(element), rows=rows + len(lines), dead_letters=dead)


def _question(line: bytes) -> Question:
    try:
        return _QUESTION.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessageError(f"not a question: {error}") from None


def _block(lines: list[bytes]) -> Iterator[Any]:
    yield b"\n".join(lines)
    yield TaggedOutput(ROWS, len(lines))


class AnswerMessages(AnswerBatches):
    """Answers batches of messages.

    Yields a block of rows of `Prediction`, one a line, for the passive requests of each batch. Replies,
    refusals and dead letters go under their topics as tags.
    """

    def __init__(self, source: ModelSource, topics: Sequence[str], dead_letter_topic: str):
        super().__init__(source)
        self._answers = Answers(topics[0], topics[1:])
        self._dead_letter_topic = dead_letter_topic

    def process(self, element: list[PubsubMessage]) -> Iterator[Any]:
        """Answer a batch."""
        model = self.model()
        lines: list[bytes] = []
        dead = 0
        for message in element:
            try:
                request = decode(message.data or b"", message.message_id or "", model.max_range)
                if request.mode == "active":
                    yield _tagged(*self._answers.reply("", message, request, model))
                else:
                    series = model.series(request.store_nbr, request.family)
                    fields = _PREDICTION_DEFAULTS | {
                        "request_id": request.request_id,
                        # A datetime of Google's, which msgspec does not know.
                        "published_at": message.publish_time and message.publish_time.isoformat(),
                        "processed_at": datetime.datetime.now(datetime.UTC),
                    }
                    for of_series in model.lines(fields, series, request.range):
                        lines += of_series
            except InvalidMessageError as error:
                dead += 1
                if refusal := self._answers.refusal("", message, error, model):
                    yield _tagged(*refusal)
                yield _tagged(self._dead_letter_topic, dead_letter("", message, error))
        if lines:
            yield b"\n".join(lines)
        _count(questions=len(element), rows=len(lines), dead_letters=dead)


def _tagged(topic: str, outgoing: Outgoing) -> TaggedOutput[str, PubsubMessage]:
    message = PubsubMessage(outgoing.data, outgoing.attributes, ordering_key=outgoing.ordering_key)
    return TaggedOutput(topic, message)


def answered(elements: Any, do_fn: beam.DoFn, *tags: str) -> Any:
    """Elements answered in batches; what comes out under which tag is up to `do_fn`."""
    return (
        elements
        | "batch" >> beam.BatchElements(min_batch_size=_BATCH_SIZE // 10, max_batch_size=_BATCH_SIZE)
        | "forecast" >> beam.ParDo(do_fn).with_outputs(*tags, main="blocks")
    )
