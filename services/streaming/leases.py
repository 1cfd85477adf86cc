"""Leases of pulled messages: extend, acknowledge, release."""

import asyncio
from typing import Final

from google import pubsub_v1
from google.api_core import exceptions
from google.rpc import error_details_pb2

from services.streaming import metrics
from services.streaming.metrics import attempted
from services.streaming.pubsub import CALL_SECONDS, RETRY

_EXTEND_EVERY_SECONDS: Final = 4
"""A message seen twice at this interval is extended: in time even for the shortest deadline, 10 s."""
_LEASE_SECONDS: Final = 30
_CALL_IDS: Final = 1000
"""Of one call, which may have 512 kB: https://cloud.google.com/pubsub/quotas#resource_limits"""
_ACKNOWLEDGE_ATTEMPTS: Final = 3
# https://cloud.google.com/pubsub/docs/exactly-once-delivery
_TRANSIENT: Final = "TRANSIENT_FAILURE"


class Leases:
    """The leased messages of a subscription.

    Args:
        subscriber: Client of Pub/Sub.
        subscription: Name of the subscription.

    Attributes:
        ack_ids: Messages whose deadline is extended.
    """

    def __init__(self, subscriber: pubsub_v1.SubscriberAsyncClient, subscription: str) -> None:
        self.ack_ids: set[str] = set()
        self._subscriber = subscriber
        self._subscription = subscription

    async def extend_forever(self) -> None:
        """Extend the deadlines of messages again and again."""
        before: set[str] = set()
        while True:
            await asyncio.sleep(_EXTEND_EVERY_SECONDS)
            due = [*(before & self.ack_ids)]
            before = set(self.ack_ids)
            for begin in range(0, len(due), _CALL_IDS):
                ack_ids = due[begin : begin + _CALL_IDS]
                if await attempted("extend", self._set_deadline(ack_ids, _LEASE_SECONDS)):
                    metrics.EXTENSIONS.inc(len(ack_ids))

    async def release(self, ack_ids: list[str]) -> None:
        """Have messages delivered again."""
        await self._set_deadline(ack_ids, 0)

    async def acknowledge(self, ack_ids: list[str]) -> None:
        """Acknowledge messages; on an exactly-once subscription, until each is confirmed or has expired."""
        for _ in range(_ACKNOWLEDGE_ATTEMPTS):
            try:
                request = pubsub_v1.AcknowledgeRequest.pb()(subscription=self._subscription, ack_ids=ack_ids)
                await self._subscriber.acknowledge(
                    request=pubsub_v1.AcknowledgeRequest.wrap(request), retry=RETRY, timeout=CALL_SECONDS
                )
                return
            except exceptions.GoogleAPICallError as error:
                failures = _failures(error)
                if not failures:
                    raise
                again = [each for each in ack_ids if failures.get(each, "").startswith(_TRANSIENT)]
                metrics.UNCONFIRMED.inc(len(failures) - len(again))
                if not again:
                    return
                ack_ids = again
        raise TimeoutError(f"{len(ack_ids)} acknowledgements are not confirmed")

    async def _set_deadline(self, ack_ids: list[str], seconds: int) -> None:
        request = pubsub_v1.ModifyAckDeadlineRequest.pb()(
            subscription=self._subscription, ack_ids=ack_ids, ack_deadline_seconds=seconds
        )
        await self._subscriber.modify_ack_deadline(
            request=pubsub_v1.ModifyAckDeadlineRequest.wrap(request), retry=RETRY, timeout=CALL_SECONDS
        )


def _failures(error: exceptions.GoogleAPICallError) -> dict[str, str]:
    """Reasons by `ack_id` for acknowledgements that failed on an exactly-once subscription."""
    return {
        ack_id: reason
        for detail in error.details
        if isinstance(detail, error_details_pb2.ErrorInfo)
        for ack_id, reason in detail.metadata.items()
        if reason.startswith((_TRANSIENT, "PERMANENT_FAILURE"))
    }
