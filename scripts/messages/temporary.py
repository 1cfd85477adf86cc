"""A subscription that a command reads for itself, so that no other subscriber misses a message."""

import contextlib
import uuid
from collections.abc import Generator
from typing import Final

from google import pubsub_v1
from google.api_core import exceptions
from google.protobuf import duration_pb2

_EXPIRY_SECONDS: Final = 24 * 3600  # Pub/Sub's minimum, in case the deletion fails


@contextlib.contextmanager
def subscription(
    subscriber: pubsub_v1.SubscriberClient, project: str, topic: str, prefix: str
) -> Generator[str]:
    """Create a subscription to a topic and delete it when the block ends; yields its path."""
    path = f"projects/{project}/subscriptions/{prefix}-{uuid.uuid4().hex[:12]}"
    expiry = pubsub_v1.ExpirationPolicy(ttl=duration_pb2.Duration(seconds=_EXPIRY_SECONDS))
    subscriber.create_subscription(
        request=pubsub_v1.Subscription(
            name=path, topic=f"projects/{project}/topics/{topic}", expiration_policy=expiry
        )
    )
    try:
        yield path
    finally:
        with contextlib.suppress(exceptions.NotFound):
            subscriber.delete_subscription(subscription=path)
