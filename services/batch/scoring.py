"""Answers the questions of the scoring pipeline with the rows of a model.

Apart from the program, so that workers import what they run.
"""

import datetime
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import apache_beam as beam
import msgspec
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from services.answers import Replies
from services.batch.errors import BatchError
from services.batch.questions import BatchQuestions
from services.contracts.decoding import InvalidMessageError
from services.forecasting.forecast import Forecast, UnknownSeriesError
from services.forecasting.model_registry import ModelRegistry, UnknownVersionError

DEAD: Final = "dead"
ROWS: Final = "rows"
NAMESPACE: Final = "score"
"""Of the pipeline's metrics."""
_BATCH_SIZE: Final = 1000
_POINTER_SECONDS: Final = 10.0


class ScoreLines:
    """A model's rows from a day on, in JSON, without the columns that come from the question.

    Args:
        forecast: of the version.
        first: the first day asked for; that of the forecast when not given.
        days: most days asked for; all of the forecast when not given.

    Raises:
        BatchError: the forecast does not have these days.
    """

    def __init__(self, forecast: Forecast, first: datetime.date | None = None, days: int | None = None):
        self.forecast = forecast
        begin = (first - forecast.dates[0]).days if first else 0
        self.days = days or forecast.horizon - begin
        if begin < 0 or begin + self.days > forecast.horizon:
            raise BatchError(
                f"model {forecast.version} forecasts {forecast.dates[0]} to {forecast.dates[-1]}, and "
                f"{self.days} days from {first} on are asked for; train on newer sales, or ask for less"
            )
        count = forecast.horizon
        version = b'"model_version":' + msgspec.json.encode(forecast.version) + b","
        rows = forecast.rows(count, range(len(forecast.family)))
        tails = [version + msgspec.json.encode(row)[1:] for row in rows]
        self._tails = [tails[at + begin : at + begin + self.days] for at in range(0, len(tails), count)]
        keys = zip(forecast.store_nbr, forecast.family, strict=True)
        self._of_key = {key: (index,) for index, key in enumerate(keys)}

    def series(self, store_nbr: str | None, family: str | None) -> Sequence[int]:
        """The series asked for.

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

    @cached_property
    def replies(self) -> Replies:
        """Replies from the same model."""
        return Replies(self.forecast, self.days)

    def lines(self, head: bytes, series: Iterable[int], days: int) -> list[bytes]:
        """A line per row: `head`, which has the columns of the question, then those of the forecast."""
        return [head + tail for index in series for tail in self._tails[index][:days]]


@dataclass(frozen=True)
class ModelSource:
    """Where workers get the model.

    Attributes:
        bucket: of the registry.
        project: of the bucket.
        version: to load; the one that the pointer names at the time when not given.
        first: see `ScoreLines`.
        days: see `ScoreLines`.
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

    def load(self, version: str) -> ScoreLines:
        """A version's rows."""
        model = ModelRegistry(self.bucket, self.project).load(version)
        return ScoreLines(model.forecast, self.first, self.days)


class SharedModel:
    """The model that workers answer with; a worker process loads it once, not once per thread."""

    def __init__(self, source: ModelSource):
        self._source = source
        self._shared = Shared()
        self._looked = 0.0
        self._version = ""

    def current(self) -> ScoreLines:
        """The rows of the version to use now."""
        if not self._version or (
            not self._source.version and time.monotonic() > self._looked + _POINTER_SECONDS
        ):
            self._version = self._source.current()
            self._looked = time.monotonic()
        version = self._version
        # Kept, since workers hold shared objects by weak references.
        self._held = self._shared.acquire(lambda: self._source.load(version), tag=version)
        return self._held


class Counters:
    """What the pipeline counts."""

    def __init__(self) -> None:
        self._asked = Metrics.counter(NAMESPACE, "questions")
        self._rows = Metrics.counter(NAMESPACE, "rows")
        self._dead = Metrics.counter(NAMESPACE, "dead_letters")

    def count(self, questions: int, rows: int, dead: int) -> None:
        """Count a batch."""
        self._asked.inc(questions)
        self._rows.inc(rows)
        self._dead.inc(dead)


class Answer(beam.DoFn):
    """Answers batches of questions.

    Yields a block of rows, one a line, for each batch, and the number of its rows under the tag `rows`;
    questions that cannot be answered go under the tag `dead`.
    """

    def __init__(self, source: ModelSource, questions: BatchQuestions):
        self._model = SharedModel(source)
        self._questions = questions
        self._counters = Counters()

    def setup(self) -> None:
        """Load the model, so that a fault shows before the first question."""
        self._model.current()

    def process(self, element: list[bytes]) -> Iterator[Any]:
        """Answer a batch."""
        model, questions = self._model.current(), self._questions
        lines: list[bytes] = []
        dead = 0
        for each in element:
            try:
                question, days = questions.read(each)
                series = model.series(question.store_nbr, question.family)
            except InvalidMessageError as error:
                dead += 1
                yield TaggedOutput(DEAD, questions.dead(each, str(error)))
            else:
                lines += model.lines(questions.head(question), series, days)
        if lines:
            yield b"\n".join(lines)
            yield TaggedOutput(ROWS, len(lines))
        self._counters.count(len(element), len(lines), dead)


def answered(elements: Any, do_fn: beam.DoFn, *tags: str) -> Any:
    """Elements answered in batches; what comes out under which tag is up to `do_fn`."""
    return (
        elements
        | "batch" >> beam.BatchElements(min_batch_size=_BATCH_SIZE // 10, max_batch_size=_BATCH_SIZE)
        | "forecast" >> beam.ParDo(do_fn).with_outputs(*tags, main="blocks")
    )
