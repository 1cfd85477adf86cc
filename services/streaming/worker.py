"""The worker: pulls requests, has them answered, and acknowledges what is durable.

Unary pulls, several outstanding, rather than a streaming pull: what is asked for is what there is room for,
so that nothing waits leased in a buffer, and no thread hands messages over.
"""

import asyncio
import logging
import random
from typing import Any, Final

import prometheus_client
from google import pubsub_v1
from google.api_core import exceptions
from google.rpc import error_details_pb2

from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.streaming.answers import Answers
from services.streaming.processing import CALL_SECONDS, RETRY, Batch, Processor, attempted, report

_log = logging.getLogger(__name__)

_OUTSTANDING_PULLS: Final = 4
_PULL_SECONDS: Final = 60
# Of all that is leased at once. Few messages are large, but each may have 10 MB.
_MOST_BYTES: Final = 64 * 1024 * 1024
_USUAL_BYTES: Final = 1024
# The shortest acknowledgement deadline is 10 s: who is seen twice at such intervals has had less of it.
_EXTEND_EVERY_SECONDS: Final = 4
_LEASE_SECONDS: Final = 30
_LONGEST_PAUSE_SECONDS: Final = 10
# From the signal to stop until what is still under way is released.
FINISH_SECONDS: Final = 15
# Of one call, which may have 512 kB: https://cloud.google.com/pubsub/quotas#resource_limits
_CALL_IDS: Final = 1000
_ACKNOWLEDGE_ATTEMPTS: Final = 3
# https://cloud.google.com/pubsub/docs/exactly-once-delivery
_TRANSIENT: Final = "TRANSIENT_FAILURE"

_EXTENSIONS = prometheus_client.Counter(
    "streaming_lease_extensions", "Messages whose acknowledgement deadline was extended."
)
_UNCONFIRMED = prometheus_client.Counter(
    "streaming_unconfirmed_acknowledgements",
    "Messages that were answered, but whose lease had run out; an exactly-once subscription repeats them.",
)


class _Room:
    """How much may be leased at once: limits the messages by their number and size.

    The number is that of the pulls times what each may ask for. The size is kept by asking for fewer when
    messages are large; since nobody knows it beforehand, the pulls under way may exceed it once.
    """

    def __init__(self, max_messages: int) -> None:
        self._most_a_pull = max_messages
        self._messages = _OUTSTANDING_PULLS * max_messages
        self._bytes = _MOST_BYTES
        self._average = float(_USUAL_BYTES)
        self._freed = asyncio.Event()

    async def reserve(self) -> int:
        """Wait until there is room; returns how many messages to ask for."""
        while self._messages <= 0 or self._bytes <= 0:
            self._freed.clear()
            await self._freed.wait()
        share = int(self._bytes / _OUTSTANDING_PULLS / self._average)
        number = max(1, min(self._most_a_pull, self._messages, share))
        self._messages -= number
        return number

    def take(self, messages: int, size: int) -> None:
        """Count in the bytes of messages that came."""
        self._bytes -= size
        # What was large lately is likely to be so again; it is forgotten over some ten pulls.
        average = size / messages
        self._average = max(0.8 * self._average + 0.2 * average, average, 1.0)

    def free(self, messages: int, size: int) -> None:
        """Count messages out, or what was reserved and did not come."""
        self._messages += messages
        self._bytes += size
        self._freed.set()


class Worker:
    """Answers what a subscription delivers to pulls.

    A message is acknowledged when its answer is durable. While something that answers need is away, messages
    stay leased and are tried again, later and later, until there is no room for more: they are not released,
    since each delivery counts towards those after which Pub/Sub makes a message a dead letter. Released is
    what is not answered in time at a stop, and what the fault is with: a message whose answer Pub/Sub
    refuses. Redelivery may repeat answers; it never loses one.

    Args:
        settings: Of the service.
        subscriber: Client to pull with.
        processor: Answers the messages.
        follower: Gives the model.

    Attributes:
        fault: What is wrong with pulling.
    """

    def __init__(
        self,
        settings: StreamingSettings,
        subscriber: pubsub_v1.SubscriberAsyncClient,
        processor: Processor,
        follower: ModelFollower[Answers],
    ) -> None:
        self.fault: str | None = None
        self._settings = settings
        self._subscriber = subscriber
        self._processor = processor
        self._follower = follower
        self._stop = asyncio.Event()
        self._room = _Room(settings.max_messages)
        self._leased: set[str] = set()
        self._handling: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Pull no more; finish or release what is leased."""
        self._processor.stopping = True
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop`. Messages wait in the subscription until a model is loaded."""
        while self._follower.current is None and not self._stop.is_set():
            await asyncio.sleep(0.1)
        stopped = asyncio.create_task(self._stop.wait())
        keeping = asyncio.create_task(self._keep_leased())
        await asyncio.gather(*(self._work(stopped) for _ in range(_OUTSTANDING_PULLS)))
        if self._handling:
            _, late = await asyncio.wait(self._handling, timeout=FINISH_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        keeping.cancel()

    async def _work(self, stopped: "asyncio.Task[Any]") -> None:
        failures = 0
        while not self._stop.is_set():
            pull = asyncio.create_task(self._pull())
            await asyncio.wait({pull, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not pull.done():
                pull.cancel()
                return
            try:
                batch = pull.result()
            except Exception as error:
                report("pull", error)
                self.fault = f"{type(error).__name__}: {error}"
                failures += 1
                await self._pause(failures)
                continue
            self.fault = None
            failures = 0
            if batch:
                handling = asyncio.create_task(self._handle(batch))
                self._handling.add(handling)
                handling.add_done_callback(self._handling.discard)

    async def _pause(self, failures: int) -> None:
        """Exponential back-off with full jitter, ended by `stop`."""
        longest = min(_LONGEST_PAUSE_SECONDS, 0.5 * 2**failures)
        try:
            async with asyncio.timeout(random.uniform(0, longest)):  # noqa: S311 -- no secret
                await self._stop.wait()
        except TimeoutError:
            return

    async def _pull(self) -> Batch | None:
        """The next messages, as soon as there is room; none when none came for a while."""
        number = await self._room.reserve()
        batch = None
        try:
            response = await self._subscriber.pull(
                subscription=self._settings.subscription,
                max_messages=number,
                retry=None,
                timeout=_PULL_SECONDS,
            )
            # The protobuf messages themselves: their proto-plus wrappers cost more than the answers.
            if received := pubsub_v1.PullResponse.pb(response).received_messages:
                batch = Batch(received)
                self._room.take(len(batch.messages), batch.size)
                number -= len(batch.messages)
        except exceptions.DeadlineExceeded:
            pass
        finally:
            self._room.free(number, 0)
        return batch

    async def _handle(self, batch: Batch) -> None:
        """Answer a batch and acknowledge it; release what is not answered in the end."""
        self._leased |= batch.messages.keys()
        try:
            await self._answer(batch)
        except asyncio.CancelledError:
            _log.warning("%s messages are not answered in time", len(batch.pending))
        except Exception as error:
            report("answer", error)
        self._leased -= batch.messages.keys()
        if released := [each for each in batch.messages if each not in batch.durable]:
            await attempted("release", self._set_deadline(released, 0))
        self._room.free(len(batch.messages), batch.size)
        self._processor.finish(batch)

    async def _answer(self, batch: Batch) -> None:
        """Try until nothing is pending, or the worker stops."""
        acknowledged: set[str] = set()
        failures = 0
        while True:
            model = self._follower.current
            assert model is not None, "pulling waits for the first model"  # noqa: S101
            try:
                await self._processor.process(batch, model.prepared)
            finally:
                if done := batch.durable - acknowledged:
                    acknowledged |= done
                    await attempted("acknowledge", self._acknowledge([*done]))
                    self._leased -= done
            if not batch.pending or self._stop.is_set():
                return
            failures += 1
            await self._pause(failures)
            if self._stop.is_set():
                return

    async def _acknowledge(self, ack_ids: list[str]) -> None:
        """Acknowledge; of an exactly-once subscription, until each is confirmed or can no longer be."""
        for _ in range(_ACKNOWLEDGE_ATTEMPTS):
            try:
                request = pubsub_v1.AcknowledgeRequest.pb()(
                    subscription=self._settings.subscription, ack_ids=ack_ids
                )
                await self._subscriber.acknowledge(
                    request=pubsub_v1.AcknowledgeRequest.wrap(request), retry=RETRY, timeout=CALL_SECONDS
                )
                return
            except exceptions.GoogleAPICallError as error:
                failures = _failures(error)
                if not failures:
                    raise
                again = [each for each in ack_ids if failures.get(each, "").startswith(_TRANSIENT)]
                _UNCONFIRMED.inc(len(failures) - len(again))
                if not again:
                    return
                ack_ids = again
        raise TimeoutError(f"{len(ack_ids)} acknowledgements are not confirmed")

    async def _keep_leased(self) -> None:
        before: set[str] = set()
        while True:
            await asyncio.sleep(_EXTEND_EVERY_SECONDS)
            due = [*(before & self._leased)]
            before = set(self._leased)
            for begin in range(0, len(due), _CALL_IDS):
                ack_ids = due[begin : begin + _CALL_IDS]
                if await attempted("extend", self._set_deadline(ack_ids, _LEASE_SECONDS)):
                    _EXTENSIONS.inc(len(ack_ids))

    async def _set_deadline(self, ack_ids: list[str], seconds: int) -> None:
        request = pubsub_v1.ModifyAckDeadlineRequest.pb()(
            subscription=self._settings.subscription, ack_ids=ack_ids, ack_deadline_seconds=seconds
        )
        await self._subscriber.modify_ack_deadline(
            request=pubsub_v1.ModifyAckDeadlineRequest.wrap(request), retry=RETRY, timeout=CALL_SECONDS
        )


def _failures(error: exceptions.GoogleAPICallError) -> dict[str, str]:
    """What an exactly-once subscription says of single acknowledgements: `ack_id` to reason."""
    return {
        ack_id: reason
        for detail in error.details
        if isinstance(detail, error_details_pb2.ErrorInfo)
        for ack_id, reason in detail.metadata.items()
        if reason.startswith((_TRANSIENT, "PERMANENT_FAILURE"))
    }
