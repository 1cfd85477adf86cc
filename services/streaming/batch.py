"""Messages that are processed together."""

import collections
from collections.abc import Iterable
from typing import Any, Literal

Kind = Literal["passive", "active", "invalid"]


class MessageBatch:
    """Messages and their state.

    Args:
        received: google.pubsub.v1.ReceivedMessage, at least one, each with its own `ack_id`.

    Attributes:
        messages: Messages by `ack_id`, in arrival order.
        durable: `ack_id`s of messages whose answer is durable.
        refused: `ack_id`s of messages whose answer Pub/Sub will never accept.
        kinds: Kind of each message that was decoded.
        duplicates: `ack_id`s of durable messages that repeat another message's request.
        size: Bytes of the bodies.
        oldest: When the first message was published, seconds since the epoch.
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
        """Number of messages by kind and outcome, and the latencies of durable messages in seconds."""
        outcomes: list[tuple[str, str]] = []
        latencies: list[float] = []
        for ack_id, published in zip(self.messages, self._published, strict=True):
            if ack_id not in self.durable:
                outcome = "released"
            else:
                outcome = "duplicate" if ack_id in self.duplicates else "acknowledged"
                latencies.append(now - published)
            outcomes.append((self.kinds.get(ack_id, "invalid"), outcome))
        return collections.Counter(outcomes), latencies
