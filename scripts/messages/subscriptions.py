"""Reading messages in commands."""

import contextlib
import uuid
from collections.abc import Generator, Sequence
from typing import Any, Final

from google.api_core import exceptions
from google.api_core.retry import Retry
from google.pubsub_v1 import PullResponse, SubscriberClient

PER_CALL: Final = 1000
"""Messages that Pub/Sub takes or hands out in a call, at most."""

RETRY: Final = Retry(timeout=10.0)
"""Of calls that a person waits for: the clients themselves try for a minute or more."""


@contextlib.contextmanager
def temporary(subscriber: SubscriberClient, project: str, topic: str, prefix: str) -> Generator[str]:
    """A subscription of the command's own to a topic, until the block ends; yields its path."""
    path = f"projects/{project}/subscriptions/{prefix}-{uuid.uuid4().hex[:12]}"
    subscription = {
        "name": path,
        "topic": f"projects/{project}/topics/{topic}",
        # Pub/Sub's minimum, a day, in case the deletion fails.
        "expiration_policy": {"ttl": {"seconds": 24 * 3600}},
    }
    subscriber.create_subscription(request=subscription, retry=RETRY)
    try:
        yield path
    finally:
        with contextlib.suppress(exceptions.NotFound):
            subscriber.delete_subscription(subscription=path)


def pull(
    subscriber: SubscriberClient, subscription: str, seconds: float = 5, *, wait: bool = True
) -> Sequence[Any]:
    """Messages that arrive within some seconds, or without waiting those that are there."""
    request = {"subscription": subscription, "max_messages": PER_CALL, "return_immediately": not wait}
    try:
        pulled = subscriber.pull(request=request, retry=None, timeout=seconds)
    except exceptions.DeadlineExceeded:
        return ()
    # The objects of the class above cost ten times as much to read.
    return PullResponse.pb(pulled).received_messages


def take(
    subscriber: SubscriberClient, subscription: str, seconds: float = 5, *, wait: bool = True
) -> list[Any]:
    """The same messages, acknowledged."""
    received = pull(subscriber, subscription, seconds, wait=wait)
    if received:
        subscriber.acknowledge(subscription=subscription, ack_ids=[each.ack_id for each in received])
    return [each.message for each in received]
