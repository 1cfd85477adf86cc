"""Clients of Pub/Sub on the event loop."""

import os
from typing import Final

from google import pubsub_v1
from google.api_core import retry_async
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from services.streaming.channels import transport

CALL_SECONDS: Final = 10
RETRY: Final = retry_async.AsyncRetry(initial=0.1, maximum=2.0, timeout=10.0)


def clients() -> tuple[pubsub_v1.SubscriberAsyncClient, pubsub_v1.PublisherAsyncClient]:
    """A subscriber and a publisher: of Google Cloud, or of the emulator at PUBSUB_EMULATOR_HOST."""
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    return (
        pubsub_v1.SubscriberAsyncClient(transport=transport(SubscriberGrpcAsyncIOTransport, emulator)),
        pubsub_v1.PublisherAsyncClient(transport=transport(PublisherGrpcAsyncIOTransport, emulator)),
    )
