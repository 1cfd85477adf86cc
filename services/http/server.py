"""An HTTP/1.1 server on the event loop. The load balancer terminates TLS and HTTP/2."""

import asyncio
import email.utils
import time
from typing import Final

from services.http.connection import Connection, ServerState
from services.http.messages import Application, AsyncHandler

_TICK_SECONDS: Final = 1.0
_BACKLOG: Final = 1024


class Server:
    """Listens for connections; `close` waits for the requests in flight.

    Args:
        application: Answers requests.
        async_handler: Answers some requests in a task instead.
    """

    def __init__(self, application: Application, async_handler: AsyncHandler | None = None) -> None:
        self._state = ServerState(application, async_handler)
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
            lambda: Connection(self._state), host, port, backlog=_BACKLOG
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
        self._state.date = email.utils.formatdate(usegmt=True)
        now = time.perf_counter()
        for connection in [each for each in self._state.connections if each.deadline < now]:
            connection.time_out()
        self._ticker = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)
