"""Reading messages in commands."""

import contextlib
import uuid
from collections.abc import Generator
from typing import Final

from google import pubsub_v1
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.protobuf import duration_pb2

_EXPIRY_SECONDS: Final = 24 * 3600  # Pub/Sub's minimum, in case the deletion fails

RETRY: Final = Retry(timeout=10.0)
"""Of calls that a person waits for: the clients themselves try for a minute or more."""


@contextlib.contextmanager
def temporary(
    subscriber: pubsub_v1.SubscriberClient, project: str, topic: str, prefix: str
) -> Generator[str]:
    """Create a subscription to a topic and delete it when the block ends; yields its path.

    It is the command's own: no other subscriber misses a message.
    """
    path = f"projects/{project}/subscriptions/{prefix}-{uuid.uuid4().hex[:12]}"
    expiry = pubsub_v1.ExpirationPolicy(ttl=duration_pb2.Duration(seconds=_EXPIRY_SECONDS))
    subscription = pubsub_v1.Subscription(
        name=path, topic=f"projects/{project}/topics/{topic}", expiration_policy=expiry
    )
    subscriber.create_subscription(request=subscription, retry=RETRY)
    try:
        yield path
    finally:
        with contextlib.suppress(exceptions.NotFound):
            subscriber.delete_subscription(subscription=path)


def take(
    subscriber: pubsub_v1.SubscriberClient, subscription: str, seconds: float = 5
) -> list[pubsub_v1.PubsubMessage]:
    """Messages that arrive within some seconds, acknowledged; none if there are none."""
    try:
        pulled = subscriber.pull(subscription=subscription, max_messages=1000, retry=None, timeout=seconds)
    except exceptions.DeadlineExceeded:
        return []
    if pulled.received_messages:
        subscriber.acknowledge(
            subscription=subscription, ack_ids=[each.ack_id for each in pulled.received_messages]
        )
    return [each.message for each in pulled.received_messages]
