"""Messages that are processed together."""

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
        published: When each message was published, seconds since the epoch.
        oldest: When the first of them was.
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
        seconds = [time.seconds + time.nanos / 1e9 for time in times]
        self.published = dict(zip(self.messages, seconds, strict=True))
        self.oldest = min(seconds)

    @property
    def pending(self) -> list[str]:
        """`ack_id`s of messages that another attempt may answer."""
        return [each for each in self.messages if each not in self.durable and each not in self.refused]
