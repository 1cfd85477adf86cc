"""The worker: pulls requests, has them answered, and acknowledges what is durable.

Unary pulls, several outstanding, rather than a streaming pull: what is asked for is what there is room for,
so that nothing waits leased in a buffer, and no thread hands messages over.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

import prometheus_client
from google import pubsub_v1
from google.api_core import exceptions
from google.rpc import error_details_pb2

from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.streaming.answers import Answers
from services.streaming.processing import CALL_SECONDS, RETRY, Batch, Processor, attempted, report

# One is answered while the others wait for messages.
_OUTSTANDING_PULLS: Final = 4
_PULL_SECONDS: Final = 60
# Leased at once, by all pulls together. Few messages are large, but each may have 10 MB.
_MOST_BYTES: Final = 64 * 1024 * 1024
_USUAL_BYTES: Final = 1024
# A batch that takes longer than half the shortest acknowledgement deadline (10 s) is extended.
_EXTEND_EVERY_SECONDS: Final = 5
_LEASE_SECONDS: Final = 30
_LONGEST_PAUSE_SECONDS: Final = 10
_LONGEST_BACKOFF_SECONDS: Final = 60
# From the signal to stop until what is still under way is released.
FINISH_SECONDS: Final = 15
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
        self._max_messages = max_messages
        self._bytes = 0
        self._average = float(_USUAL_BYTES)
        self._freed = asyncio.Event()

    async def wait(self) -> int:
        """Wait until there is room; returns how many messages to ask for."""
        while self._bytes >= _MOST_BYTES:
            self._freed.clear()
            await self._freed.wait()
        share = (_MOST_BYTES - self._bytes) / _OUTSTANDING_PULLS
        return max(1, min(self._max_messages, int(share / self._average)))

    def take(self, received: Sequence[Any]) -> int:
        """Count messages in; returns their bytes, for `free`."""
        size = sum(len(each.message.data) for each in received)
        self._bytes += size
        # What was large lately is likely to be so again; it is forgotten over some ten pulls.
        self._average = max(0.8 * self._average + 0.2 * size / len(received), size / len(received), 1.0)
        return size

    def free(self, size: int) -> None:
        """Count them out."""
        self._bytes -= size
        self._freed.set()


class Worker:
    """Answers what a subscription delivers to pulls.

    A message is acknowledged when its answer is durable. What fails is released for redelivery after a
    growing time, and the worker pauses a while. Redelivery may repeat answers; it never loses one.

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

    def stop(self) -> None:
        """Pull no more; finish or release what is leased."""
        self._processor.stopping = True
        self._stop.set()

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
                complete = await self._handle(await self._pull(), failures)
            except Exception as error:
                report("pull", error)
                self.fault = f"{type(error).__name__}: {error}"
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
        pull = asyncio.ensure_future(self._pull_with_room())
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
        self.fault = None
        # The protobuf messages themselves: their proto-plus wrappers cost more than the answers.
        return pubsub_v1.PullResponse.pb(response).received_messages

    async def _pull_with_room(self) -> pubsub_v1.PullResponse:
        return await self._subscriber.pull(
            subscription=self._settings.subscription,
            max_messages=await self._room.wait(),
            retry=None,
            timeout=_PULL_SECONDS,
        )

    async def _handle(self, received: Sequence[Any], failures: int) -> bool:
        """Answer a batch, then acknowledge or release each message; True if none was released."""
        model = self._follower.current
        if not received or model is None:
            return True
        batch = Batch(received)
        size = self._room.take(received)
        lease = asyncio.create_task(self._keep_leased([each.ack_id for each in received]))
        try:
            await self._until_late(self._processor.process(batch, model.prepared))
        finally:
            lease.cancel()
            self._room.free(size)
        backoff = 0 if self._stop.is_set() else min(_LONGEST_BACKOFF_SECONDS, 2**failures)
        await self._settle(batch, backoff)
        return not batch.released

    async def _until_late(self, work: Any) -> None:
        """Await work; give it up when it is not done in time after `stop`."""
        task = asyncio.ensure_future(work)
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            await asyncio.wait({task}, timeout=FINISH_SECONDS)
            task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _settle(self, batch: Batch, backoff_seconds: int) -> None:
        if batch.durable:
            await attempted("acknowledge", self._acknowledge(list(batch.durable)))
        if released := batch.released:
            await attempted("release", self._set_deadline(released, backoff_seconds))
        batch.count()

    async def _acknowledge(self, ack_ids: list[str]) -> None:
        """Acknowledge; of an exactly-once subscription, until each is confirmed or can no longer be."""
        for _ in range(_ACKNOWLEDGE_ATTEMPTS):
            try:
                await self._subscriber.acknowledge(
                    subscription=self._settings.subscription,
                    ack_ids=ack_ids,
                    retry=RETRY,
                    timeout=CALL_SECONDS,
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

    async def _keep_leased(self, ack_ids: list[str]) -> None:
        while True:
            await asyncio.sleep(_EXTEND_EVERY_SECONDS)
            if await attempted("extend", self._set_deadline(ack_ids, _LEASE_SECONDS)):
                _EXTENSIONS.inc(len(ack_ids))

    async def _set_deadline(self, ack_ids: list[str], seconds: int) -> None:
        await self._subscriber.modify_ack_deadline(
            subscription=self._settings.subscription,
            ack_ids=ack_ids,
            ack_deadline_seconds=seconds,
            retry=RETRY,
            timeout=CALL_SECONDS,
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
