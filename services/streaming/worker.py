"""The worker: pulls requests, has them processed, and acknowledges those whose answer is durable.

It keeps several unary pulls outstanding instead of a streaming pull: it asks for as many messages as flow
control allows, so none waits leased in a buffer, and no thread hands messages over.
"""

import asyncio
import logging
import random
from typing import Any, Final

from google.api_core import exceptions

from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.streaming.batch import MessageBatch
from services.streaming.flow_control import OUTSTANDING_PULLS, FlowControl
from services.streaming.leases import Leases
from services.streaming.metrics import attempted, report
from services.streaming.processing import Processor
from services.streaming.pubsub import PubSub
from services.streaming.replies import ModelReplies

_log = logging.getLogger(__name__)

_PULL_SECONDS: Final = 60
_MAX_PAUSE_SECONDS: Final = 10
FINISH_SECONDS: Final = 15
"""From the signal to stop until unfinished messages are released."""


class Worker:
    """Answers the messages of a subscription.

    A message is acknowledged when its answer is durable. While BigQuery or Pub/Sub is unreachable, messages
    stay leased and are tried again with back-off, up to the limits of flow control: a release would count as
    a delivery attempt, and Pub/Sub dead-letters a message after a number of those. The worker releases
    messages that are unfinished when it stops, and those whose answer Pub/Sub refuses. Redelivery may repeat
    answers; it never loses one.

    Attributes:
        fault: Why messages cannot be pulled, if so.
    """

    def __init__(
        self,
        settings: StreamingSettings,
        pubsub: PubSub,
        processor: Processor,
        follower: ModelFollower[ModelReplies],
    ) -> None:
        self.fault: str | None = None
        self._subscription = settings.subscription
        self._pubsub = pubsub
        self._processor = processor
        self._follower = follower
        self._stop = asyncio.Event()
        self._flow_control = FlowControl(settings.max_messages)
        self._leases = Leases(pubsub, settings.subscription)
        self._batches: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Pull no more; finish or release leased messages."""
        self._processor.stopping = True
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop`. Messages wait in the subscription until a model is loaded."""
        while self._follower.current is None and not self._stop.is_set():
            await asyncio.sleep(0.1)
        stopped = asyncio.create_task(self._stop.wait())
        extending = asyncio.create_task(self._leases.extend_forever())
        await asyncio.gather(*(self._pull_until(stopped) for _ in range(OUTSTANDING_PULLS)))
        if self._batches:
            _, unfinished = await asyncio.wait(self._batches, timeout=FINISH_SECONDS)
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished)
        extending.cancel()

    async def _pull_until(self, stopped: "asyncio.Task[Any]") -> None:
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
                task = asyncio.create_task(self._handle(batch))
                self._batches.add(task)
                task.add_done_callback(self._batches.discard)

    async def _pause(self, failures: int) -> None:
        """Exponential back-off with full jitter, ended by `stop`."""
        limit = min(_MAX_PAUSE_SECONDS, 0.5 * 2**failures)
        try:
            async with asyncio.timeout(random.uniform(0, limit)):  # noqa: S311 -- no secret
                await self._stop.wait()
        except TimeoutError:
            return

    async def _pull(self) -> MessageBatch | None:
        """The next messages that flow control allows; None if none came for a while."""
        number = await self._flow_control.reserve()
        batch = None
        try:
            if received := await self._pubsub.pull(self._subscription, number, _PULL_SECONDS):
                batch = MessageBatch(received)
                self._flow_control.take(len(batch.messages), batch.size)
                number -= len(batch.messages)
        except exceptions.DeadlineExceeded:
            pass
        finally:
            self._flow_control.free(number, 0)
        return batch

    async def _handle(self, batch: MessageBatch) -> None:
        """Answer and acknowledge a batch; release the messages that stay unanswered."""
        self._leases.ack_ids |= batch.messages.keys()
        try:
            await self._answer(batch)
        except asyncio.CancelledError:
            _log.warning("%s messages are not answered in time", len(batch.pending))
        except Exception as error:
            report("answer", error)
        self._leases.ack_ids -= batch.messages.keys()
        if unanswered := [each for each in batch.messages if each not in batch.durable]:
            await attempted("release", self._pubsub.extend(self._subscription, unanswered, 0))
        self._flow_control.free(len(batch.messages), batch.size)
        self._processor.finish(batch)

    async def _answer(self, batch: MessageBatch) -> None:
        """Try until no message is pending, or the worker stops."""
        acknowledged: set[str] = set()
        failures = 0
        while True:
            model = self._follower.current
            assert model is not None, "pulling waits for the first model"  # noqa: S101
            try:
                await self._processor.process(batch, model.prepared)
            finally:
                if durable := batch.durable - acknowledged:
                    acknowledged |= durable
                    await attempted("acknowledge", self._pubsub.acknowledge(self._subscription, [*durable]))
                    self._leases.ack_ids -= durable
            if not batch.pending or self._stop.is_set():
                return
            failures += 1
            await self._pause(failures)
            if self._stop.is_set():
                return
