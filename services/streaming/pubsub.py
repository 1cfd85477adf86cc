"""Clients of Pub/Sub on the event loop."""

import os
from collections.abc import Sequence
from typing import Any

import grpc.aio
from google import pubsub_v1
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport


def clients() -> tuple[pubsub_v1.SubscriberAsyncClient, pubsub_v1.PublisherAsyncClient]:
    """A subscriber and a publisher: of Google Cloud, or of the emulator PUBSUB_EMULATOR_HOST names."""
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator is None:
        return pubsub_v1.SubscriberAsyncClient(), pubsub_v1.PublisherAsyncClient()

    # Left to themselves the clients know the emulator too, but limit what they receive to gRPC's 4 MB,
    # while a message may have 10. `options` are those they use with Google Cloud.
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
    """Options of a channel to an emulator, which comes back sooner than gRPC looks by itself (2 minutes)."""
    return [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000)]
