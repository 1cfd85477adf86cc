"""What becomes of messages, pulled or pushed: answered, refused, or left for another time."""

import asyncio
import collections
import datetime
import logging
import time
from collections.abc import Awaitable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import prometheus_client
from google import pubsub_v1
from google.api_core import exceptions, retry_async
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from services.contracts import metrics
from services.contracts.decoding import InvalidMessageError, decode
from services.contracts.messages import SaleRangeRequest
from services.contracts.names import (
    DELIVERY_ATTEMPT_ATTRIBUTE,
    REASON_ATTRIBUTE,
    REQUEST_ID_ATTRIBUTE,
    STATUS_ATTRIBUTE,
)
from services.contracts.settings import StreamingSettings
from services.histogram import Histogram
from services.streaming.answers import Answers
from services.streaming.table import APPEND_BYTES, ROW_OVERHEAD_BYTES, AppendError, PredictionsTable

_log = logging.getLogger(__name__)

CALL_SECONDS: Final = 10
RETRY: Final = retry_async.AsyncRetry(initial=0.1, maximum=2.0, timeout=10.0)

# https://cloud.google.com/pubsub/quotas#resource_limits
_MESSAGE_BYTES: Final = 10_000_000
_PUBLISH_MESSAGES: Final = 1000
_ATTRIBUTE_BYTES: Final = 1024
_MESSAGE_OVERHEAD_BYTES: Final = 64  # tags and lengths of a message in a publish request

# Requests answered last, whose repetitions are not answered again: a publisher that tries again does so
# within seconds, and a few thousand cost a megabyte.
_REMEMBERED: Final = 20_000

# Under the first, client libraries pass OpenTelemetry's context on; the second is W3C's own name.
_TRACE_ATTRIBUTES: Final = ("googclient_traceparent", "traceparent")

Kind = Literal["passive", "active", "invalid"]

_RECEIVED = prometheus_client.Counter("streaming_messages_received", "Messages received, repeated ones too.")
_MESSAGES = prometheus_client.Counter(
    metrics.MESSAGES,
    "Messages by kind (passive, active, invalid) and outcome (acknowledged, released, duplicate).",
    ["kind", "outcome"],
)
_LATENCY = Histogram(metrics.MESSAGE_LATENCY_BUCKETS)
_BATCH = prometheus_client.Histogram(
    "streaming_batch_messages",
    "Messages answered together.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
_OLDEST = prometheus_client.Gauge(
    metrics.OLDEST_MESSAGE_AGE, "Age of the oldest message that is being answered; 0 when there is none."
)
_ROWS = prometheus_client.Counter("streaming_rows_saved", "Rows saved in BigQuery.")
_FAULTS = prometheus_client.Counter(
    "streaming_faults", "Calls that failed for good, by what was attempted.", ["attempt"]
)


class _Latency(Collector):
    def collect(self) -> Iterable[prometheus_client.Metric]:
        text = "Time from publishing a request to acknowledging it."
        yield HistogramMetricFamily(metrics.MESSAGE_LATENCY, text, _LATENCY.buckets, _LATENCY.total)


prometheus_client.REGISTRY.register(_Latency())


def report(attempt: str, error: Exception) -> None:
    """Count and log a failure; a service that cannot be reached needs no traceback."""
    _FAULTS.labels(attempt).inc()
    outage = isinstance(error, exceptions.GoogleAPIError | AppendError | OSError)
    _log.error("%s failed: %s: %s", attempt, type(error).__name__, error, exc_info=None if outage else error)


class Outgoing(NamedTuple):
    """A message to publish, and the `ack_id` of the one it settles."""

    ack_id: str
    data: bytes
    attributes: dict[str, str]
    ordering_key: str


class Batch:
    """Messages on their way through, and what became of each.

    Args:
        received: google.pubsub.v1.ReceivedMessage, at least one, each with an `ack_id` of its own.

    Attributes:
        messages: They, by `ack_id`, as they came.
        durable: `ack_id`s of messages whose answer is durable.
        refused: `ack_id`s of messages whose answer Pub/Sub will never take.
        kinds: What each asks for, as far as it was looked at.
        duplicates: Of the durable, those that another message's answer settled.
        size: Bytes of their bodies.
        oldest: When the first was published, seconds since the epoch.
    """

    def __init__(self, received: Iterable[Any]) -> None:
        self.messages = {each.ack_id: each for each in received}
        self.durable: set[str] = set()
        self.refused: set[str] = set()
        self.kinds: dict[str, Kind] = {}
        self.duplicates: set[str] = set()
        messages = [each.message for each in self.messages.values()]
        self.size = sum(len(each.data) for each in messages)
        times = [each.publish_time for each in messages]
        self._published = [time.seconds + time.nanos / 1e9 for time in times]
        self.oldest = min(self._published)

    @property
    def pending(self) -> list[str]:
        """`ack_id`s of messages that another attempt may answer."""
        return [each for each in self.messages if each not in self.durable and each not in self.refused]

    def outcomes(self, now: float) -> tuple[collections.Counter[tuple[str, str]], list[float]]:
        """How many messages of each kind had which outcome, and the seconds that the durable ones took."""
        outcomes: list[tuple[str, str]] = []
        seconds: list[float] = []
        for ack_id, published in zip(self.messages, self._published, strict=True):
            if ack_id not in self.durable:
                outcome = "released"
            else:
                outcome = "duplicate" if ack_id in self.duplicates else "acknowledged"
                seconds.append(now - published)
            outcomes.append((self.kinds.get(ack_id, "invalid"), outcome))
        return collections.Counter(outcomes), seconds


class Processor:
    """Answers batches of messages.

    An answer is durable when rows are in BigQuery, the reply is published, or the invalid message is
    published as a dead letter. A request that was answered lately is not answered again, whichever message
    repeats it.

    Args:
        settings: Of the service.
        publisher: Client for replies and dead letters.
        table: Where the rows of passive requests go.
    """

    def __init__(
        self, settings: StreamingSettings, publisher: pubsub_v1.PublisherAsyncClient, table: PredictionsTable
    ) -> None:
        self.stopping = False
        self._settings = settings
        self._publisher = publisher
        self._table = table
        topics = (settings.reply_topic, *settings.reply_topics)
        self._reply_topics = {name: topic for topic in topics for name in (topic, topic.rpartition("/")[2])}
        self._answered: dict[SaleRangeRequest, None] = {}
        self._under_way: set[Batch] = set()
        self._project = settings.subscription.split("/")[1]
        _OLDEST.set_function(self._oldest_age)

    def _oldest_age(self) -> float:
        return max((time.time() - batch.oldest for batch in list(self._under_way)), default=0.0)

    async def process(self, batch: Batch, answers: Answers) -> None:
        """Try to answer what is pending; `batch` tells what was. Failures are reported, not raised."""
        if batch not in self._under_way:
            self._under_way.add(batch)
            _RECEIVED.inc(len(batch.messages))
            _BATCH.observe(len(batch.messages))
        replies: dict[tuple[str, str], list[Outgoing]] = {}
        passive: list[tuple[Any, SaleRangeRequest]] = []
        invalid: list[Outgoing] = []
        leaders: dict[SaleRangeRequest, str] = {}
        # Equal to a request before them, whose fate they share.
        followers: list[tuple[str, str]] = []
        for ack_id in batch.pending:
            received = batch.messages[ack_id]
            message = received.message
            try:
                request = decode(message.data, message.message_id, answers.max_range)
                batch.kinds[ack_id] = request.mode
                if request in self._answered:
                    batch.durable.add(ack_id)
                    batch.duplicates.add(ack_id)
                    continue
                leader = leaders.setdefault(request, ack_id)
                if leader != ack_id:
                    followers.append((ack_id, leader))
                elif request.mode == "active":
                    topic = self._reply_topic(request)
                    reply = self._reply(ack_id, message, request, answers)
                    replies.setdefault((topic, reply.ordering_key), []).append(reply)
                else:
                    answers.series(request)
                    passive.append((received, request))
            except InvalidMessageError as fault:
                invalid.append(self._dead_letter(received, str(fault)))
                batch.kinds[ack_id] = "invalid"
                if fault.request is not None and fault.request.mode == "active":
                    refusal = _refusal(ack_id, message, fault.request, str(fault), answers)
                    topic = self._reply_topics.get(fault.request.reply_to or "", self._settings.reply_topic)
                    replies.setdefault((topic, refusal.ordering_key), []).append(refusal)

        told: set[str] = set()
        try:
            await asyncio.gather(
                attempted("save", self._save(answers, passive, batch.durable)),
                *(
                    attempted("reply", self._publish(topic, key, outgoing, told, batch.refused))
                    for (topic, key), outgoing in replies.items()
                ),
            )
        finally:
            batch.durable |= told.difference(letter.ack_id for letter in invalid)
            self._remember(request for request, ack_id in leaders.items() if ack_id in batch.durable)
        # Afterwards: a dead letter ends a message, so whoever waits has been told before.
        topic = self._settings.dead_letter_topic
        await attempted("dead-letter", self._publish(topic, "", invalid, batch.durable, batch.refused))
        for follower, leader in followers:
            if leader in batch.durable:
                batch.durable.add(follower)
                batch.duplicates.add(follower)

    def finish(self, batch: Batch) -> None:
        """Tell the metrics what became of the messages."""
        self._under_way.discard(batch)
        outcomes, seconds = batch.outcomes(time.time())
        for labels, number in outcomes.items():
            _MESSAGES.labels(*labels).inc(number)
        for each in seconds:
            _LATENCY.observe(each)

    def _remember(self, requests: Iterable[SaleRangeRequest]) -> None:
        self._answered.update(dict.fromkeys(requests))
        for _ in range(len(self._answered) - _REMEMBERED):
            del self._answered[next(iter(self._answered))]

    def _reply_topic(self, request: SaleRangeRequest) -> str:
        if request.reply_to is None:
            return self._settings.reply_topic
        try:
            return self._reply_topics[request.reply_to]
        except KeyError:
            allowed = ", ".join(sorted(name for name in self._reply_topics if "/" not in name))
            raise InvalidMessageError(
                f"reply_to {request.reply_to!r} is not allowed here; allowed: {allowed}", request
            ) from None

    def _reply(self, ack_id: str, message: Any, request: SaleRangeRequest, answers: Answers) -> Outgoing:
        data = answers.reply(request)
        if len(data) > _MESSAGE_BYTES - 2 * _ATTRIBUTE_BYTES:
            raise InvalidMessageError(
                f"the reply has {len(data)} bytes, Pub/Sub takes {_MESSAGE_BYTES}: ask for less at a time",
                request,
            )
        attributes = {REQUEST_ID_ATTRIBUTE: request.request_id, STATUS_ATTRIBUTE: "ok"}
        if message.attributes:
            attributes |= _trace(message.attributes)
        return Outgoing(ack_id, data, attributes, message.ordering_key)

    def _dead_letter(self, received: Any, reason: str) -> Outgoing:
        """The message as it came, and why it cannot be answered."""
        message = received.message
        attributes = dict(message.attributes)
        attributes[REASON_ATTRIBUTE] = _shortened(reason)
        if received.delivery_attempt:
            attributes[DELIVERY_ATTEMPT_ATTRIBUTE] = str(received.delivery_attempt)
        fields = {"message_id": message.message_id, "reason": attributes[REASON_ATTRIBUTE]}
        for traceparent in _trace(attributes).values():
            # https://cloud.google.com/logging/docs/structured-logging#special-payload-fields
            trace_id = traceparent.split("-")[1:2]
            fields["logging.googleapis.com/trace"] = f"projects/{self._project}/traces/{''.join(trace_id)}"
        _log.warning("message %s refused: %s", message.message_id, reason, extra={"fields": fields})
        return Outgoing(received.ack_id, message.data, attributes, "")

    async def _save(
        self, answers: Answers, passive: Sequence[tuple[Any, SaleRangeRequest]], durable: set[str]
    ) -> None:
        """Save the rows of passive requests, append by append."""
        for rows, finished in _appends(answers, passive):
            if self.stopping:
                return
            await self._table.append(rows)
            _ROWS.inc(len(rows))
            durable.update(finished)

    async def _publish(
        self,
        topic: str,
        ordering_key: str,
        outgoing: Sequence[Outgoing],
        published: set[str],
        refused: set[str],
    ) -> None:
        """Publish messages of one ordering key, in order; ends where Pub/Sub cannot be reached."""
        for batch in publish_batches(outgoing):
            try:
                await self._publish_batch(topic, ordering_key, batch)
                published.update(each.ack_id for each in batch)
            except exceptions.InvalidArgument:
                # One message that Pub/Sub does not take fails the call: each by itself.
                for one in batch:
                    try:
                        await self._publish_batch(topic, ordering_key, [one])
                        published.add(one.ack_id)
                    except exceptions.InvalidArgument as error:
                        report("publish", error)
                        refused.add(one.ack_id)

    async def _publish_batch(self, topic: str, ordering_key: str, batch: Sequence[Outgoing]) -> None:
        request = pubsub_v1.PublishRequest.pb()(topic=topic)
        add = request.messages.add
        for _, data, attributes, _ in batch:
            message = add(data=data, ordering_key=ordering_key)
            for (
                name,
                value,
            ) in attributes.items():  # in place: a map made of a dictionary costs four times that
                message.attributes[name] = value
        await self._publisher.publish(
            request=pubsub_v1.PublishRequest.wrap(request), retry=RETRY, timeout=CALL_SECONDS
        )


async def attempted(attempt: str, work: Awaitable[Any]) -> bool:
    """Await; whatever fails is reported. Returns whether it did not."""
    try:
        await work
    except Exception as error:
        report(attempt, error)
        return False
    return True


def _refusal(ack_id: str, message: Any, request: SaleRangeRequest, reason: str, answers: Answers) -> Outgoing:
    """The reply to an active request that cannot be answered, so that its sender need not wait."""
    attributes = {
        REQUEST_ID_ATTRIBUTE: request.request_id,
        STATUS_ATTRIBUTE: "refused",
        REASON_ATTRIBUTE: _shortened(reason),
        **_trace(message.attributes),
    }
    return Outgoing(ack_id, answers.refusal(request), attributes, message.ordering_key)


def _trace(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: attributes[name] for name in _TRACE_ATTRIBUTES if name in attributes}


def _shortened(reason: str) -> str:
    return reason.encode()[:_ATTRIBUTE_BYTES].decode(errors="ignore")


def publish_batches(outgoing: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    """Group messages within the limits of one publish call, each at least one."""
    begin = size = 0
    for index, one in enumerate(outgoing):
        characters = sum(map(len, one.attributes)) + sum(map(len, one.attributes.values()))
        more = len(one.data) + _MESSAGE_OVERHEAD_BYTES + 4 * characters  # a character's UTF-8 has at most 4
        if index > begin and (index - begin == _PUBLISH_MESSAGES or size + more > _MESSAGE_BYTES):
            yield outgoing[begin:index]
            begin, size = index, 0
        size += more
    if outgoing:
        yield outgoing[begin:]


def _appends(
    answers: Answers, passive: Collection[tuple[Any, SaleRangeRequest]]
) -> Iterator[tuple[list[bytes], list[str]]]:
    """Rows to save, append by append: the rows, and the `ack_id`s of messages they complete."""
    rows: list[bytes] = []
    size = 0
    finished: list[str] = []
    for received, request in passive:
        published_us = received.message.publish_time.ToMicroseconds()
        processed_us = int(datetime.datetime.now(datetime.UTC).timestamp() * 1e6)
        for row in answers.rows(request, published_us, processed_us):
            more = len(row) + ROW_OVERHEAD_BYTES
            if size + more > APPEND_BYTES:
                yield rows, finished
                rows, size, finished = [], 0, []
            rows.append(row)
            size += more
        finished.append(received.ack_id)
    if rows:
        yield rows, finished
