"""An HTTP/1.1 server on the event loop. The load balancer terminates TLS and HTTP/2."""

import asyncio
import email.utils
import logging
import resource
import time
from typing import Final

from services.http.connection import Connection
from services.http.messages import Application, AsyncHandler
from services.http.server_state import ServerState

_log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 4096
_TICK_SECONDS: Final = 1.0
_BACKLOG: Final = 1024
_OTHER_FILES: Final = 128
"""Open files besides the connections that are served: those that are refused, model files, other clients."""


class Server:
    """Listens for connections; `close` waits for the requests in flight.

    Args:
        application: Answers requests.
        async_handler: Answers some requests in a task instead.
    """

    def __init__(self, application: Application, async_handler: AsyncHandler | None = None) -> None:
        self._state = ServerState(application, async_handler, _connection_limit())
        self._listener: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._state.connections)

    @property
    def requests_in_flight(self) -> int:
        """Number of requests that are being received or answered, or whose response is not sent."""
        return sum(not connection.idle for connection in self._state.connections)

    async def listen(self, host: str, port: int) -> None:
        """Accept connections.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(self._state), host, port, backlog=min(_BACKLOG, self._state.max_connections)
        )
        self._tick()

    async def close(self, seconds: float) -> bool:
        """Stop listening, close idle connections and wait for the others.

        Args:
            seconds: Time to wait before connections are aborted.

        Returns:
            Whether all requests were answered.
        """
        assert self._listener is not None, "listen first"  # noqa: S101 -- an error of the caller
        self._listener.close()
        connections = self._state.connections
        for connection in [*connections]:
            connection.close_if_idle()
        deadline = time.perf_counter() + seconds
        while connections and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        unfinished = [*connections]
        for connection in unfinished:
            connection.abort()
        if self._ticker is not None:
            self._ticker.cancel()
        return not unfinished

    def _tick(self) -> None:
        """Once a second: update the date, and time connections out."""
        self._ticker = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)
        date = email.utils.formatdate(usegmt=True)
        self._state.date_and_trace = f"date: {date}\r\ntraceparent: ".encode()
        now = time.perf_counter()
        for connection in [each for each in self._state.connections if each.deadline < now]:
            connection.time_out()


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
