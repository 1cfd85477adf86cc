"""The worker: pulls requests, answers them, and acknowledges what is durable."""

import asyncio
import datetime
import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import prometheus_client
from google import pubsub_v1
from google.api_core import exceptions, retry_async

from services.contracts.messages import SaleRangeRequest
from services.contracts.names import DELIVERY_ATTEMPT_ATTRIBUTE, REASON_ATTRIBUTE, REQUEST_ID_ATTRIBUTE
from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.runtime import Readiness
from services.streaming.answers import Answers
from services.streaming.decoding import InvalidMessageError, decode
from services.streaming.table import InsertError, PredictionsTable

_log = logging.getLogger(__name__)

# One is answered while the other waits for messages.
_OUTSTANDING_PULLS: Final = 2
_PULL_SECONDS: Final = 60
_CALL_SECONDS: Final = 10
_RETRY: Final = retry_async.AsyncRetry(initial=0.1, maximum=2.0, timeout=10.0)
# A batch that takes longer than half the shortest acknowledgement deadline (10 s) is extended.
_EXTEND_EVERY_SECONDS: Final = 5
_LEASE_SECONDS: Final = 30
_LONGEST_PAUSE_SECONDS: Final = 10

# https://cloud.google.com/pubsub/quotas#resource_limits
_MESSAGE_BYTES: Final = 10_000_000
_PUBLISH_MESSAGES: Final = 1000
_ATTRIBUTE_BYTES: Final = 1024

_MESSAGES = prometheus_client.Counter(
    "streaming_messages",
    "Messages by kind (passive, active, invalid) and outcome (acknowledged, released).",
    ["kind", "outcome"],
)
_LATENCY = prometheus_client.Histogram(
    "streaming_message_latency_seconds",
    "Time from publishing a request to acknowledging it.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
_BATCH = prometheus_client.Histogram(
    "streaming_batch_messages", "Messages in a pull.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
_ROWS = prometheus_client.Counter("streaming_rows_saved", "Rows saved in BigQuery.")
_FAULTS = prometheus_client.Counter(
    "streaming_faults", "Calls that failed for good, by what was attempted.", ["attempt"]
)


class _Work(NamedTuple):
    """A valid request and its message (google.pubsub.v1.ReceivedMessage)."""

    received: Any
    request: SaleRangeRequest
    series: list[int]


class _Outgoing(NamedTuple):
    """A message to publish (google.pubsub.v1.PubsubMessage), and the one it settles."""

    ack_id: str
    message: Any


class Worker:
    """Answers what a subscription delivers.

    A message is acknowledged when its answer is durable: rows are in BigQuery, the reply is published,
    or the invalid message is published as a dead letter. What fails is released for redelivery, and the
    worker pauses a while. Redelivery repeats answers; it never loses one.

    Args:
        settings: Of the service.
        subscriber: Client to pull with.
        publisher: Client for replies and dead letters.
        table: Where the rows of passive requests go.
        follower: Gives the model.
    """

    def __init__(
        self,
        settings: StreamingSettings,
        subscriber: pubsub_v1.SubscriberAsyncClient,
        publisher: pubsub_v1.PublisherAsyncClient,
        table: PredictionsTable,
        follower: ModelFollower[Answers],
    ) -> None:
        self._settings = settings
        self._subscriber = subscriber
        self._publisher = publisher
        self._table = table
        self._follower = follower
        self._stop = asyncio.Event()
        self._pull_fault: str | None = None

    def stop(self) -> None:
        """Pull no more; finish or release what is leased."""
        self._stop.set()

    def readiness(self) -> Readiness:
        """Ready with a model loaded and a subscription that answers. Called from any thread."""
        model = self._follower.current
        stopping = "stopping" if self._stop.is_set() else None
        return Readiness(
            ready=model is not None and not stopping and not self._pull_fault,
            model=model.manifest.version if model else None,
            fault=stopping or self._pull_fault or self._follower.error,
        )

    async def run(self) -> None:
        """Work until `stop`. Messages wait in the subscription until a model is loaded."""
        while self._follower.current is None and not self._stop.is_set():
            await asyncio.sleep(0.1)
        async with asyncio.TaskGroup() as group:
            for _ in range(_OUTSTANDING_PULLS):
                group.create_task(self._work())

    async def _work(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                complete = await self._handle(await self._pull())
            except Exception as error:
                _report("pull", error)
                self._pull_fault = f"{type(error).__name__}: {error}"
                complete = False
            failures = 0 if complete else failures + 1
            if failures:
                await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        """Exponential back-off with full jitter, ended by `stop`."""
        longest = min(_LONGEST_PAUSE_SECONDS, 0.5 * 2**failures)
        try:
            async with asyncio.timeout(random.uniform(0, longest)):  # noqa: S311 -- no secret
                await self._stop.wait()
        except TimeoutError:
            return

    async def _pull(self) -> Sequence[Any]:
        """The next messages; none when stopped, or when none came for a while."""
        pull = asyncio.ensure_future(
            self._subscriber.pull(
                subscription=self._settings.subscription,
                max_messages=self._settings.max_messages,
                retry=None,
                timeout=_PULL_SECONDS,
            )
        )
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({pull, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not pull.done():
            pull.cancel()
            return ()
        try:
            response = pull.result()
        except exceptions.DeadlineExceeded:
            response = pubsub_v1.PullResponse()
        self._pull_fault = None
        # The protobuf messages themselves: their proto-plus wrappers cost more than the answers.
        return pubsub_v1.PullResponse.pb(response).received_messages

    async def _handle(self, batch: Sequence[Any]) -> bool:
        """Answer a batch, then acknowledge or release each message; True if none was released."""
        model = self._follower.current
        if not batch or model is None:
            return True
        _BATCH.observe(len(batch))
        answers = model.prepared
        active: list[_Work] = []
        passive: list[_Work] = []
        invalid: list[_Outgoing] = []
        kinds: dict[str, str] = {}
        for received in batch:
            try:
                request = decode(received.message.data, received.message.message_id, answers.max_range)
                work = _Work(received, request, answers.series(request))
            except InvalidMessageError as fault:
                invalid.append(_dead_letter(received, str(fault)))
                kinds[received.ack_id] = "invalid"
            else:
                (active if request.mode == "active" else passive).append(work)
                kinds[received.ack_id] = request.mode

        durable: set[str] = set()
        lease = asyncio.create_task(self._keep_leased(list(kinds)))
        try:
            replies = _replies(answers, active, invalid)
            await asyncio.gather(
                self._attempt("save", self._save(answers, passive, durable)),
                self._attempt("reply", self._publish(self._settings.reply_topic, replies, durable)),
            )
            # Afterwards, since a reply may turn out to be too long to send.
            await self._attempt(
                "dead-letter", self._publish(self._settings.dead_letter_topic, invalid, durable)
            )
        finally:
            lease.cancel()
        await self._settle(batch, kinds, durable)
        return len(durable) == len(batch)

    async def _attempt(self, attempt: str, work: Any) -> None:
        """Await; whatever fails is reported, and the messages it was for are not durable."""
        try:
            await work
        except Exception as error:
            _report(attempt, error)

    async def _save(self, answers: Answers, passive: list[_Work], durable: set[str]) -> None:
        for rows, ids, finished in _chunks(answers, passive):
            if self._stop.is_set():
                return
            await asyncio.to_thread(self._table.insert, rows, ids)
            _ROWS.inc(len(rows))
            durable.update(finished)

    async def _publish(self, topic: str, outgoing: Iterable[_Outgoing], durable: set[str]) -> None:
        for batch in _publish_batches(outgoing):
            try:
                await self._publish_batch(topic, batch)
                durable.update(ack_id for ack_id, _ in batch)
            except exceptions.InvalidArgument:
                # One message that Pub/Sub does not take fails the call: each by itself.
                for one in batch:
                    try:
                        await self._publish_batch(topic, [one])
                        durable.add(one.ack_id)
                    except exceptions.InvalidArgument as error:
                        _report("publish", error)

    async def _publish_batch(self, topic: str, batch: list[_Outgoing]) -> None:
        request = pubsub_v1.PublishRequest.pb()(topic=topic, messages=[message for _, message in batch])
        await self._publisher.publish(
            request=pubsub_v1.PublishRequest.wrap(request), retry=_RETRY, timeout=_CALL_SECONDS
        )

    async def _settle(self, batch: Sequence[Any], kinds: dict[str, str], durable: set[str]) -> None:
        released = [ack_id for ack_id in kinds if ack_id not in durable]
        if durable:
            await self._attempt(
                "acknowledge",
                self._subscriber.acknowledge(
                    subscription=self._settings.subscription,
                    ack_ids=list(durable),
                    retry=_RETRY,
                    timeout=_CALL_SECONDS,
                ),
            )
        if released:
            await self._attempt("release", self._set_deadline(released, 0))
        now = datetime.datetime.now(datetime.UTC).timestamp()
        for received in batch:
            if received.ack_id in durable:
                _MESSAGES.labels(kinds[received.ack_id], "acknowledged").inc()
                _LATENCY.observe(now - received.message.publish_time.ToNanoseconds() / 1e9)
            else:
                _MESSAGES.labels(kinds[received.ack_id], "released").inc()

    async def _keep_leased(self, ack_ids: list[str]) -> None:
        while True:
            await asyncio.sleep(_EXTEND_EVERY_SECONDS)
            await self._attempt("extend", self._set_deadline(ack_ids, _LEASE_SECONDS))

    async def _set_deadline(self, ack_ids: list[str], seconds: int) -> None:
        await self._subscriber.modify_ack_deadline(
            subscription=self._settings.subscription,
            ack_ids=ack_ids,
            ack_deadline_seconds=seconds,
            retry=_RETRY,
            timeout=_CALL_SECONDS,
        )


def _report(attempt: str, error: Exception) -> None:
    """Count and log a failure; a service that cannot be reached needs no traceback."""
    _FAULTS.labels(attempt).inc()
    outage = isinstance(error, exceptions.GoogleAPIError | InsertError | OSError)
    _log.error("%s failed: %s: %s", attempt, type(error).__name__, error, exc_info=None if outage else error)


def _replies(answers: Answers, active: list[_Work], invalid: list[_Outgoing]) -> Iterator[_Outgoing]:
    """Replies, made as they are sent; requests whose reply is too long to send are added to `invalid`."""
    for received, request, series in active:
        data = answers.reply(request, series)
        if len(data) > _MESSAGE_BYTES:
            reason = (
                f"the reply has {len(data)} bytes, Pub/Sub takes {_MESSAGE_BYTES}: ask for less at a time"
            )
            invalid.append(_dead_letter(received, reason))
        else:
            attributes = {REQUEST_ID_ATTRIBUTE: request.request_id}
            yield _Outgoing(received.ack_id, pubsub_v1.PubsubMessage.pb()(data=data, attributes=attributes))


def _dead_letter(received: Any, reason: str) -> _Outgoing:
    """The message as it came, and why it cannot be answered."""
    attributes = dict(received.message.attributes)
    attributes[REASON_ATTRIBUTE] = reason.encode()[:_ATTRIBUTE_BYTES].decode(errors="ignore")
    if received.delivery_attempt:
        attributes[DELIVERY_ATTEMPT_ATTRIBUTE] = str(received.delivery_attempt)
    message = pubsub_v1.PubsubMessage.pb()(data=received.message.data, attributes=attributes)
    return _Outgoing(received.ack_id, message)


def _publish_batches(outgoing: Iterable[_Outgoing]) -> Iterator[list[_Outgoing]]:
    """Group messages within the limits of one publish call, each at least one."""
    batch: list[_Outgoing] = []
    size = 0
    for one in outgoing:
        if batch and (len(batch) == _PUBLISH_MESSAGES or size + one.message.ByteSize() > _MESSAGE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.message.ByteSize()
    if batch:
        yield batch


def _chunks(
    answers: Answers, passive: list[_Work]
) -> Iterator[tuple[list[dict[str, Any]], list[str], list[str]]]:
    """Rows to save, call by call: the rows, their ids, and the `ack_id`s of messages they complete."""
    rows: list[dict[str, Any]] = []
    ids: list[str] = []
    finished: list[str] = []
    for received, request, series in passive:
        message = received.message
        published_at = message.publish_time.ToDatetime(tzinfo=datetime.UTC)
        for number, row in enumerate(answers.rows(request, series, published_at)):
            if len(rows) == PredictionsTable.ROWS_PER_CALL:
                yield rows, ids, finished
                rows, ids, finished = [], [], []
            rows.append(row)
            # The same when the message is delivered again and the same model answers.
            ids.append(f"{message.message_id}-{answers.version}-{number}")
        finished.append(received.ack_id)
    if rows:
        yield rows, ids, finished
