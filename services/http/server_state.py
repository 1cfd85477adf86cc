"""What the connections of a server share, and how much of it one client may have."""

import asyncio
import collections
import http
import math
from typing import TYPE_CHECKING, Final

from services.http.messages import Application, AsyncHandler
from services.http.problems import HttpError

if TYPE_CHECKING:
    from services.http.connection import Connection

MAX_STREAMS: Final = 32
"""Responses in parts at a time; a part has a few hundred kilobytes."""
_READ_BYTES: Final = 64 * 1024
"""Received at a time."""


class ServerState:
    """What the connections of a server share; one client may have half of it.

    Attributes:
        application: Answers requests.
        async_handler: Answers the requests that it returns a coroutine for.
        max_connections: Limit of connections.
        connections: Open connections, the oldest first, each with the client that it counts for.
        buffer: Receives what the connections read, each in its turn.
        date_and_trace: The `date` header, at most a second old, and the name of the next one.
        streams: Number of responses that are written in parts, by client.
        turn: Held to write one part, while the event loop turns once: others wait for one part at most.
    """

    def __init__(
        self, application: Application, async_handler: AsyncHandler | None, max_connections: int
    ) -> None:
        self.application = application
        self.async_handler = async_handler
        self.max_connections = max_connections
        self.connections: dict[Connection, str] = {}
        self._clients: collections.Counter[str] = collections.Counter()  # connections of each
        self.buffer = memoryview(bytearray(_READ_BYTES))
        self.date_and_trace = b""
        self.streams: collections.Counter[str] = collections.Counter()
        self.turn = asyncio.Lock()

    def count(self, connection: "Connection", client: str) -> None:
        """Count a connection for a client; if it is one too many, close the oldest idle one.

        Raises:
            HttpError: it is one too many, and none is idle.
        """
        before = self.connections.get(connection)
        if client == before:
            return
        if before is not None:
            _decrement(self._clients, before)
        self.connections[connection] = client
        self._clients[client] += 1
        own = self._clients[client] > math.ceil(self.max_connections / 2)
        if not own and len(self.connections) <= self.max_connections:
            return
        for each, owner in self.connections.items():
            if each is not connection and (owner == client or not own) and each.close_if_idle():
                return
        raise _busy("you have too many connections" if own else "there are too many connections")

    def forget(self, connection: "Connection") -> None:
        """A connection is closed."""
        _decrement(self._clients, self.connections.pop(connection))

    def begin_stream(self, client: str) -> None:
        """Count a response in parts.

        Raises:
            HttpError: it is one too many.
        """
        if self.streams[client] >= math.ceil(MAX_STREAMS / 2):
            raise _busy("you have too many long responses")
        if self.streams.total() >= MAX_STREAMS:
            raise _busy("there are too many long responses")
        self.streams[client] += 1

    def end_stream(self, client: str) -> None:
        """A response in parts is written."""
        _decrement(self.streams, client)


def _decrement(counter: collections.Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _busy(detail: str) -> HttpError:
    return HttpError(http.HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=[("retry-after", "1")])
