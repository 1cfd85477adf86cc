"""gRPC channels to Google Cloud or to an emulator. They notice when the other side goes silent.

They are used without Google's generated clients, which take 100 µs of CPU time for each call: those wrap
messages, and calls, and listen in for a debug log.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc.aio
from google.api_core import grpc_helpers_async

Call = Callable[..., Awaitable[Any]]

# A connection that swallows what is sent breaks within 40 s, before a pull has waited for its minute. Without
# the last option, which Google's clients do not set, it takes 90.
KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
)
# Messages have up to 10 MB, a response several; gRPC's own limit is 4.
_UNLIMITED: Final = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
# An emulator restarts sooner than after gRPC's longest pause, 2 minutes.
_RECONNECT: Final = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000))
# Otherwise a new channel would use the connection of the one that it replaces.
_OWN_CONNECTION: Final = ("grpc.use_local_subchannel_pool", 1)


def channel(transport: Any, emulator: str | None) -> grpc.aio.Channel:
    """A channel to what the transport of one of Google's asyncio clients connects to, or to an emulator."""
    options = [*_UNLIMITED, *KEEPALIVE, _OWN_CONNECTION]
    if emulator is not None:
        return grpc.aio.insecure_channel(emulator, options=[*options, *_RECONNECT])
    return transport.create_channel(options=options)


def call(make: Callable[..., Any], method: str, request: Any, response: Any) -> Call:
    """A call of a method by `unary_unary` or `stream_stream` of a channel; it raises GoogleAPIError."""
    made: Any = grpc_helpers_async.wrap_errors(make(method, request.SerializeToString, response.FromString))
    return made
