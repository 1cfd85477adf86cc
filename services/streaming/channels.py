"""gRPC channels to Google Cloud or to an emulator. They notice when the other side goes silent."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import grpc.aio
from google.auth.credentials import AnonymousCredentials

Transport = TypeVar("Transport")

Options = Sequence[tuple[str, int]]

# A connection that swallows what is sent breaks within 40 s, before a pull has waited for its minute. Without
# the last option, which Google's clients do not set, it takes 90.
KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
)
# An emulator restarts sooner than after gRPC's longest pause, 2 minutes.
_RECONNECT: Final = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000))


def channel(kind: Any, emulator: str | None, options: Options, **arguments: Any) -> grpc.aio.Channel:
    """A channel to the service of one of Google's clients.

    Args:
        kind: The client's transport, of the asyncio interface.
        emulator: Address of an emulator, if that is to be used.
        options: Options of the channel, besides those for silence.
        arguments: Others of the transport's own channels.
    """
    options = [*options, *KEEPALIVE]
    if emulator is not None:
        return grpc.aio.insecure_channel(emulator, options=[*options, *_RECONNECT])
    return kind.create_channel(options=options, **arguments)


def transport(kind: type[Transport], emulator: str | None, more: Options = ()) -> Transport:
    """A transport for one of Google's clients.

    Args:
        kind: Its class, of the asyncio interface.
        emulator: Address of an emulator, if that is to be used.
        more: Options of the channel.
    """
    of_kind: Any = kind

    # `options` are those that the clients use with Google Cloud.
    def own_channel(host: str, *, options: Options, **arguments: Any) -> grpc.aio.Channel:
        return channel(kind, emulator, [*options, *more], host=host, **arguments)

    return of_kind(credentials=None if emulator is None else AnonymousCredentials(), channel=own_channel)
