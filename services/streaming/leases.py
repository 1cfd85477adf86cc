"""Leases of pulled messages."""

import asyncio
import time
from typing import Final

from services.streaming import metrics
from services.streaming.metrics import attempted
from services.streaming.pubsub import PubSub

_CHECK_SECONDS: Final = 4
"""A message seen at two checks is extended: in time even for the shortest deadline, 10 s."""
_LEASE_SECONDS: Final = 30
_RENEW_SECONDS: Final = 20
"""From an extension to the next: two checks before the lease ends, for a call that fails."""
_CALL_IDS: Final = 1000
"""Of one call, which may have 512 kB: https://cloud.google.com/pubsub/quotas#resource_limits"""


class Leases:
    """The leased messages of a subscription.

    Attributes:
        ack_ids: Messages whose deadline is extended.
    """

    def __init__(self, pubsub: PubSub, subscription: str) -> None:
        self.ack_ids: set[str] = set()
        self._pubsub = pubsub
        self._subscription = subscription

    async def extend_forever(self) -> None:
        """Extend the deadlines of messages again and again."""
        due_at: dict[str, float] = {}
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            now = time.monotonic()
            due_at = {each: due_at.get(each, now) for each in self.ack_ids}
            due = [each for each, time_due in due_at.items() if time_due < now]
            for begin in range(0, len(due), _CALL_IDS):
                ack_ids = due[begin : begin + _CALL_IDS]
                extending = self._pubsub.extend(self._subscription, ack_ids, _LEASE_SECONDS)
                if await attempted("extend", extending):
                    metrics.EXTENSIONS.inc(len(ack_ids))
                    due_at.update(dict.fromkeys(ack_ids, now + _RENEW_SECONDS))
