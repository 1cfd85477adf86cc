"""An HTTP/1.1 server on the event loop. The load balancer terminates TLS and HTTP/2."""

import asyncio
import collections
import email.utils
import logging
import math
import resource
import time
from typing import Final

from services.http.application import Application
from services.http.connection import Connection
from services.http.messages import AsyncHandler, unavailable

_log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 4096
MAX_STREAMS: Final = 32
"""Responses in parts at a time; a part has a few hundred kilobytes."""
_READ_BYTES: Final = 64 * 1024
"""Received at a time."""
_TICK_SECONDS: Final = 1.0
_BACKLOG: Final = 1024
_OTHER_FILES: Final = 128
"""Open files besides the connections that are served: those that are refused, model files, other clients."""


class Server:
    """Listens for connections; `close` waits for the requests in flight. One client may have half of all.

    Attributes:
        connections: Open connections, the oldest first, each with the client that it counts for.
        buffer: Receives what the connections read, each in its turn.
        date_and_trace: The `date` header, at most a second old, and the name of the next one.
        turn: Held to write one part, while the event loop turns once: others wait for one part at most.
    """

    def __init__(self, application: Application, async_handler: AsyncHandler | None = None) -> None:
        self.application = application
        self.async_handler = async_handler
        self.max_connections = _connection_limit()
        self.connections: dict[Connection, str] = {}
        self._clients: collections.Counter[str] = collections.Counter()  # connections of each
        self.buffer = memoryview(bytearray(_READ_BYTES))
        self.date_and_trace = b""
        self._streams: collections.Counter[str] = collections.Counter()  # responses in parts of each
        self.turn = asyncio.Lock()

    @property
    def requests_in_flight(self) -> int:
        """Number of requests that are being received or answered, or whose response is not sent."""
        return sum(not connection.idle for connection in self.connections)

    async def listen(self, host: str, port: int) -> None:
        """Accept connections; OSError if the address cannot be listened on."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(self), host, port, backlog=min(_BACKLOG, self.max_connections)
        )
        self._tick()

    async def close(self, seconds: float) -> bool:
        """Stop listening and wait for the requests in flight; returns whether all were answered in time."""
        self._listener.close()
        self.application.draining = True
        for connection in [*self.connections]:
            connection.close_if_idle()
        deadline = time.perf_counter() + seconds
        while self.connections and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        unfinished = [*self.connections]
        for connection in unfinished:
            connection.abort()
        self._ticker.cancel()
        return not unfinished

    def _tick(self) -> None:
        """Once a second: update the date, and time connections out."""
        self._ticker = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)
        date = email.utils.formatdate(usegmt=True)
        self.date_and_trace = f"date: {date}\r\ntraceparent: ".encode()
        now = time.perf_counter()
        for connection in [each for each in self.connections if each.deadline < now]:
            connection.time_out()

    def count(self, connection: Connection, client: str) -> None:
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
        raise unavailable("you have too many connections" if own else "there are too many connections")

    def forget(self, connection: Connection) -> None:
        """A connection is closed."""
        _decrement(self._clients, self.connections.pop(connection))

    def begin_stream(self, client: str) -> None:
        """Count a response in parts; HttpError if it is one too many."""
        if self._streams[client] >= math.ceil(MAX_STREAMS / 2):
            raise unavailable("you have too many long responses")
        if self._streams.total() >= MAX_STREAMS:
            raise unavailable("there are too many long responses")
        self._streams[client] += 1

    def end_stream(self, client: str) -> None:
        """A response in parts is written."""
        _decrement(self._streams, client)


def _connection_limit() -> int:
    """The number of connections that the limit of open files allows, which is raised as far as possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The loop accepts a backlog of connections before it tells of one.
    needed = MAX_CONNECTIONS + _BACKLOG + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return MAX_CONNECTIONS
    limit = max(1, (soft - _OTHER_FILES) // 2)
    _log.warning("ulimit -n is %d, %d are needed: at most %d connections", soft, needed, limit)
    return limit


def _decrement(counter: collections.Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
