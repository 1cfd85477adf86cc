"""The worker: pulls requests, has them processed, and acknowledges those whose answer is durable.

It keeps several unary pulls outstanding instead of a streaming pull: it asks for as many messages as flow
control allows, so none waits leased in a buffer, and no thread hands messages over.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import time
from typing import Final

from services.forecasting.follower import ModelFollower
from services.runtime import FINISH_SECONDS
from services.streaming import metrics
from services.streaming.metrics import attempted, report
from services.streaming.processing import MessageBatch, ModelReplies, Processor
from services.streaming.pubsub import PubSub

_log = logging.getLogger(__name__)

_OUTSTANDING_PULLS: Final = 4
_MAX_BYTES: Final = 64 * 1024 * 1024
"""Of all leased messages. Few messages are large, but each may have 10 MB."""
_USUAL_BYTES: Final = 1024
_MAX_PAUSE_SECONDS: Final = 10

_CHECK_SECONDS: Final = 4
"""A message seen at two checks is extended: in time even for the shortest deadline, 10 s."""
_LEASE_SECONDS: Final = 30
_RENEW_SECONDS: Final = 20
"""From an extension to the next: two checks before the lease ends, for a call that fails."""
_CALL_IDS: Final = 1000
"""Of one call, which may have 512 kB: https://cloud.google.com/pubsub/quotas#resource_limits"""


class _FlowControl:
    """Limits the number of leased messages exactly, and their size by asking for fewer while they are large.

    Sizes are unknown before messages arrive, so the outstanding pulls may exceed the limit once.
    """

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages
        self._messages = _OUTSTANDING_PULLS * max_messages
        self._bytes = _MAX_BYTES
        self._average = float(_USUAL_BYTES)
        self._freed = asyncio.Event()

    async def reserve(self) -> int:
        """Wait until messages may be leased. Returns how many to ask for."""
        while self._messages <= 0 or self._bytes <= 0:
            self._freed.clear()
            await self._freed.wait()
        share = int(self._bytes / _OUTSTANDING_PULLS / self._average)
        number = max(1, min(self._max_messages, self._messages, share))
        self._messages -= number
        return number

    def take(self, messages: int, size: int) -> None:
        self._bytes -= size
        # A large average decays over about ten pulls.
        average = size / messages
        self._average = max(0.8 * self._average + 0.2 * average, average, 1.0)

    def free(self, messages: int, size: int) -> None:
        """Give back messages, or a reservation that was not used."""
        self._messages += messages
        self._bytes += size
        self._freed.set()


class Worker:
    """Answers the messages of a subscription.

    A message is acknowledged when its answer is durable. While BigQuery or Pub/Sub is unreachable, messages
    stay leased and are tried again with back-off: a release would count as a delivery attempt, after a number
    of which Pub/Sub dead-letters a message. The worker releases messages that are unfinished when it stops,
    and those whose answer Pub/Sub refuses. Redelivery may repeat answers; it never loses one.
    """

    def __init__(
        self, max_messages: int, pubsub: PubSub, processor: Processor, follower: ModelFollower[ModelReplies]
    ) -> None:
        self.fault: str | None = None  # why messages cannot be pulled, if so
        self._pubsub = pubsub
        self._processor = processor
        self._follower = follower
        self._flow_control = _FlowControl(max_messages)
        self._leased: set[str] = set()  # `ack_id`s of messages whose deadline is extended
        self._batches: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish or release leased messages. They wait until a model is loaded."""
        self._stop = stop
        while self._follower.current is None and not stop.is_set():
            await asyncio.sleep(0.1)
        async with asyncio.TaskGroup() as group:
            extending = group.create_task(self._extend_forever())
            pulling = [group.create_task(self._pull_forever()) for _ in range(_OUTSTANDING_PULLS)]
            await stop.wait()
            self._processor.stopping = True
            for task in pulling:
                task.cancel()
            await asyncio.wait(pulling)
            if self._batches:
                _, unfinished = await asyncio.wait(self._batches, timeout=FINISH_SECONDS)
                for task in unfinished:
                    task.cancel()
                if unfinished:
                    await asyncio.wait(unfinished)
            extending.cancel()

    async def _extend_forever(self) -> None:
        due_at: dict[str, float] = {}
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            now = time.monotonic()
            due_at = {each: due_at.get(each, now) for each in self._leased}
            due = [each for each, time_due in due_at.items() if time_due < now]
            for begin in range(0, len(due), _CALL_IDS):
                ack_ids = due[begin : begin + _CALL_IDS]
                if await attempted("extend", self._pubsub.extend(ack_ids, _LEASE_SECONDS)):
                    metrics.EXTENSIONS.inc(len(ack_ids))
                    due_at.update(dict.fromkeys(ack_ids, now + _RENEW_SECONDS))

    async def _pull_forever(self) -> None:
        failures = 0
        while True:
            try:
                await self._pull()
                self.fault, failures = None, 0
            except Exception as error:
                report("pull", error)
                self.fault = f"{type(error).__name__}: {error}"
                failures += 1
                await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        """Exponential back-off with full jitter, ended by `stop`."""
        limit = min(_MAX_PAUSE_SECONDS, 0.5 * 2**failures)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0, limit)):  # noqa: S311 -- no secret
                await self._stop.wait()

    async def _pull(self) -> None:
        """Wait for the messages that flow control allows, and start to handle them."""
        unused = await self._flow_control.reserve()
        try:
            if received := await self._pubsub.pull(unused):
                batch = MessageBatch(received)
                self._flow_control.take(len(batch.messages), batch.size)
                unused -= len(batch.messages)
                task = asyncio.create_task(self._handle(batch))
                self._batches.add(task)
                task.add_done_callback(self._batches.discard)
        finally:
            self._flow_control.free(unused, 0)

    async def _handle(self, batch: MessageBatch) -> None:
        """Answer and acknowledge a batch; release the messages that stay unanswered."""
        self._leased |= batch.messages.keys()
        try:
            await self._answer(batch)
        except asyncio.CancelledError:
            _log.warning("%s messages are not answered in time", len(batch.pending))
        except Exception as error:
            report("answer", error)
        self._leased -= batch.messages.keys()
        if unanswered := [each for each in batch.messages if each not in batch.durable]:
            await attempted("release", self._pubsub.extend(unanswered, 0))
        self._flow_control.free(len(batch.messages), batch.size)
        self._processor.finish(batch)

    async def _answer(self, batch: MessageBatch) -> None:
        """Try until no message is pending, or the worker stops."""
        acknowledged: set[str] = set()
        for failures in itertools.count(1):
            model = self._follower.current
            assert model is not None, "pulling waits for the first model"  # noqa: S101
            try:
                await self._processor.process(batch, model.prepared)
            finally:
                if durable := batch.durable - acknowledged:
                    acknowledged |= durable
                    await attempted("acknowledge", self._pubsub.acknowledge([*durable]))
                    self._leased -= durable
            if not batch.pending:
                return
            await self._pause(failures)
            if self._stop.is_set():
                return
