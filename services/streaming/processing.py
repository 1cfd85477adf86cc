"""Processing of messages, pulled or pushed: answer, refuse, or leave for another attempt."""

import asyncio
import collections
import functools
import logging
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import msgspec

from services import answers
from services.answers import Answers, InvalidMessageError, Outgoing, Replies, decode, encoded_rows
from services.contracts.messages import PredictionRow, SaleRangeRequest
from services.contracts.schema import defaults
from services.contracts.settings import StreamingSettings
from services.contracts.tables import Prediction
from services.forecasting.forecast import Forecast
from services.http import trace_context
from services.streaming import metrics
from services.streaming.metrics import attempted
from services.streaming.pubsub import PubSub
from services.streaming.table import APPEND_BYTES, PREDICTION, ROW_OVERHEAD_BYTES, PredictionsTable

_log = logging.getLogger(__name__)

_REMEMBERED_REQUESTS: Final = 20_000
"""Answered requests whose repetitions are not answered again; this many need a few megabytes."""
_REMEMBERED_SECONDS: Final = 600.0
"""Publishers retry for as long: https://cloud.google.com/pubsub/docs/retry-requests. Who asks again later
wants an answer."""
_STALLED_SECONDS: Final = 120.0
"""Without any answer although messages wait: longer than all attempts of an append take."""


class ModelReplies(Replies):
    """Builds the replies and rows that answer requests, from one model version.

    A serialized message is the concatenation of its fields in any order
    (https://protobuf.dev/programming-guides/encoding/#order). So the fields that a forecast decides are
    serialized once, when a series is first asked for, and joined with those of each request.
    """

    def __init__(self, forecast: Forecast, max_range: int) -> None:
        super().__init__(forecast, max_range)
        given = {**defaults(Prediction), "model_version": forecast.version}

        def encode(row: PredictionRow) -> bytes:
            return PREDICTION.encode(**given, **msgspec.structs.asdict(row))

        self._saved = functools.cache(encoded_rows(forecast, 0, self.max_range, encode))

    def rows(self, request: SaleRangeRequest, published_us: int, processed_us: int) -> list[bytes]:
        """The serialized rows of table `predictions` that answer a passive request; times since the epoch.

        Raises:
            InvalidMessageError: no series matches the filters.
        """
        fields = PREDICTION.encode(
            request_id=request.request_id, published_at=published_us, processed_at=processed_us
        )
        series = self.series(request.store_nbr, request.family)
        return [row + fields for index in series for row in self._saved(index)[: request.range]]


class MessageBatch:
    """Messages (google.pubsub.v1.ReceivedMessage, at least one) by `ack_id`, and what became of them."""

    def __init__(self, received: Iterable[Any]) -> None:
        self.messages = {each.ack_id: each for each in received}
        self.kinds: dict[str, str] = {}  # passive, active or invalid
        self.durable: set[str] = set()  # those whose answer is durable
        self.duplicates: set[str] = set()  # durable ones that repeat another message's request
        self.refused: set[str] = set()  # those whose answer Pub/Sub will never accept
        messages = [each.message for each in self.messages.values()]
        self.size = sum(len(each.data) for each in messages)
        times = [each.publish_time for each in messages]
        seconds = [time.seconds + time.nanos / 1e9 for time in times]  # since the epoch
        self.published = dict(zip(self.messages, seconds, strict=True))
        self.oldest = min(seconds)

    @property
    def pending(self) -> list[str]:
        """Messages that another attempt may answer."""
        return [each for each in self.messages if each not in self.durable and each not in self.refused]


class _Work:
    """What the pending messages of a batch ask for."""

    def __init__(self) -> None:
        # By topic and ordering key, and by ordering key.
        self.replies: dict[tuple[str, str], list[Outgoing]] = collections.defaultdict(list)
        self.dead_letters: dict[str, list[Outgoing]] = collections.defaultdict(list)
        # Messages whose rows are to be saved, and their requests.
        self.passive: list[tuple[Any, SaleRangeRequest]] = []
        # `ack_id` of the first message with a request, and those of later ones, each with that of the first.
        self.first: dict[SaleRangeRequest, str] = {}
        self.repeated: list[tuple[str, str]] = []


class Processor:
    """Answers batches of messages.

    An answer is durable when its rows are in BigQuery, or its reply or dead letter is published. A request
    that this model version answered recently is not answered again, whichever message repeats it.
    """

    def __init__(self, settings: StreamingSettings, pubsub: PubSub, table: PredictionsTable) -> None:
        self.stopping = False  # set when the process is about to stop: no more rows are saved
        self._pubsub = pubsub
        self._table = table
        self._answers = Answers(settings.reply_topic, settings.reply_topics)
        self._dead_letter_topic = settings.dead_letter_topic
        self._trace_prefix = trace_context.log_prefix(settings.trace_project)
        # When a model version answered a request. A plain dictionary finds its oldest entry slowly: it goes
        # past all that were deleted.
        self._answered = collections.OrderedDict[tuple[str, SaleRangeRequest], float]()
        self._in_progress: set[MessageBatch] = set()
        self._last_answer = time.monotonic()
        metrics.OLDEST.set_function(
            lambda: max((time.time() - batch.oldest for batch in list(self._in_progress)), default=0.0)
        )

    @property
    def fault(self) -> str | None:
        """Says that messages wait and none is answered, if so."""
        silence = time.monotonic() - self._last_answer
        if not self._in_progress or silence < _STALLED_SECONDS:
            return None
        return f"messages wait, and none was answered in the last {silence:.0f} s"

    async def process(self, batch: MessageBatch, replies: ModelReplies) -> None:
        """Try to answer the pending messages and update `batch`. Failures are reported, not raised."""
        if batch not in self._in_progress:
            if not self._in_progress:
                self._last_answer = time.monotonic()
            self._in_progress.add(batch)
            metrics.RECEIVED.inc(len(batch.messages))
            metrics.BATCH.observe(len(batch.messages))
        work = self._prepare(batch, replies)
        durable_before = len(batch.durable)
        published: set[str] = set()
        try:
            await asyncio.gather(
                attempted("save", self._save(replies, work.passive, batch.durable)),
                *(
                    attempted("reply", self._pubsub.publish(topic, outgoing, published, batch.refused))
                    for (topic, _), outgoing in work.replies.items()
                ),
            )
        finally:
            # An invalid message is durable as a dead letter, not when its refusal is published.
            refused = [letter.ack_id for letters in work.dead_letters.values() for letter in letters]
            batch.durable |= published.difference(refused)
            now = time.monotonic()
            for request, ack_id in work.first.items():
                if ack_id in batch.durable:
                    self._answered[replies.version, request] = now
        # After the refusals: a dead letter ends a message, and the sender must have its reply by then.
        for letters in work.dead_letters.values():
            publishing = self._pubsub.publish(self._dead_letter_topic, letters, batch.durable, batch.refused)
            await attempted("dead-letter", publishing)
        if len(batch.durable) > durable_before:
            self._last_answer = time.monotonic()
        for repeated, first in work.repeated:
            if first in batch.durable:
                batch.durable.add(repeated)
                batch.duplicates.add(repeated)

    def finish(self, batch: MessageBatch) -> None:
        """Update the metrics with the outcomes of a batch."""
        self._in_progress.discard(batch)
        now = time.time()
        outcomes: list[tuple[str, str]] = []
        for ack_id, published in batch.published.items():
            outcome = "released"
            if ack_id in batch.durable:
                outcome = "duplicate" if ack_id in batch.duplicates else "acknowledged"
                metrics.LATENCY.observe(now - published)
            outcomes.append((batch.kinds.get(ack_id, "invalid"), outcome))
        for labels, number in collections.Counter(outcomes).items():
            metrics.MESSAGES.labels(*labels).inc(number)

    def _prepare(self, batch: MessageBatch, replies: ModelReplies) -> _Work:
        work = _Work()
        self._forget()
        for ack_id in batch.pending:
            received = batch.messages[ack_id]
            try:
                message = received.message
                request = decode(message.data, message.message_id, replies.max_range)
                batch.kinds[ack_id] = request.mode
                if (replies.version, request) in self._answered:
                    batch.durable.add(ack_id)
                    batch.duplicates.add(ack_id)
                elif (first := work.first.setdefault(request, ack_id)) != ack_id:
                    work.repeated.append((ack_id, first))
                elif request.mode == "active":
                    topic, reply = self._answers.reply(ack_id, message, request, replies)
                    work.replies[topic, reply.ordering_key].append(reply)
                else:
                    replies.series(request.store_nbr, request.family)
                    work.passive.append((received, request))
            except InvalidMessageError as error:
                batch.kinds[ack_id] = "invalid"
                self._refuse(received, error, replies, work)
        return work

    def _refuse(self, received: Any, error: InvalidMessageError, replies: ModelReplies, work: _Work) -> None:
        """Add the dead letter of an invalid message, and a reply if its sender awaits one."""
        message, ack_id = received.message, received.ack_id
        letter = answers.dead_letter(ack_id, message, error, received.delivery_attempt)
        work.dead_letters[letter.ordering_key].append(letter)
        reason = answers.reason(error)
        fields = {"message_id": message.message_id, "reason": reason}
        for traceparent in answers.trace(message.attributes).values():
            if trace_id := trace_context.trace_id(traceparent):
                fields[trace_context.LOG_FIELD] = self._trace_prefix + trace_id
        _log.warning("message %s refused: %s", message.message_id, reason, extra={"fields": fields})
        if refusal := self._answers.refusal(ack_id, message, error, replies):
            topic, reply = refusal
            work.replies[topic, reply.ordering_key].append(reply)

    def _forget(self) -> None:
        """Forget the oldest answers: those of long ago, and those that are too many."""
        expired = time.monotonic() - _REMEMBERED_SECONDS
        while self._answered:
            oldest = next(iter(self._answered))
            if len(self._answered) <= _REMEMBERED_REQUESTS and self._answered[oldest] > expired:
                return
            del self._answered[oldest]

    async def _save(
        self, replies: ModelReplies, passive: Collection[tuple[Any, SaleRangeRequest]], durable: set[str]
    ) -> None:
        for rows, completed in _appends(replies, passive):
            if self.stopping:
                return
            await self._table.append(rows)
            metrics.ROWS.inc(len(rows))
            durable.update(completed)


def _appends(
    replies: ModelReplies, passive: Collection[tuple[Any, SaleRangeRequest]]
) -> Iterator[tuple[list[bytes], list[str]]]:
    """Rows to save, append by append: the rows, and the `ack_id`s of messages that they complete."""
    rows: list[bytes] = []
    size = 0
    completed: list[str] = []
    for received, request in passive:
        published_us = received.message.publish_time.ToMicroseconds()
        processed_us = time.time_ns() // 1000
        for row in replies.rows(request, published_us, processed_us):
            more = len(row) + ROW_OVERHEAD_BYTES
            if size + more > APPEND_BYTES:
                yield rows, completed
                rows, size, completed = [], 0, []
            rows.append(row)
            size += more
        completed.append(received.ack_id)
    if rows:
        yield rows, completed
