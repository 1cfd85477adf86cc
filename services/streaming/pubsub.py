"""Clients of Pub/Sub on the event loop."""

import os
from collections.abc import Sequence
from typing import Any, Final

import grpc.aio
from google import pubsub_v1
from google.api_core import retry_async
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

CALL_SECONDS: Final = 10
RETRY: Final = retry_async.AsyncRetry(initial=0.1, maximum=2.0, timeout=10.0)


def clients() -> tuple[pubsub_v1.SubscriberAsyncClient, pubsub_v1.PublisherAsyncClient]:
    """A subscriber and a publisher: of Google Cloud, or of the emulator at PUBSUB_EMULATOR_HOST."""
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator is None:
        return pubsub_v1.SubscriberAsyncClient(), pubsub_v1.PublisherAsyncClient()

    # The clients find the emulator by themselves, but then limit what they receive to gRPC's 4 MB, while a
    # message may have 10. `options` are those that they use with Google Cloud.
    def channel(_: str, *, options: Any, **__: Any) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(emulator, options=[*options, *emulator_options()])

    anonymous = AnonymousCredentials()
    return (
        pubsub_v1.SubscriberAsyncClient(
            transport=SubscriberGrpcAsyncIOTransport(credentials=anonymous, channel=channel)
        ),
        pubsub_v1.PublisherAsyncClient(
            transport=PublisherGrpcAsyncIOTransport(credentials=anonymous, channel=channel)
        ),
    )


def emulator_options() -> Sequence[tuple[str, int]]:
    """Options of a channel to an emulator: reconnect sooner than by gRPC's default (2 minutes)."""
    return [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000)]
