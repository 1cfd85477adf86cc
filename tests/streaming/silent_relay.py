"""A relay in front of an emulator, whose connections can go silent."""

import asyncio
import contextlib
from typing import Any


class Relay:
    """Passes bytes on to BigQuery, but for those of silent connections."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._connections: list[dict[str, bool]] = []

    def silence(self) -> None:
        """Swallow what comes over the connections that are open now."""
        for connection in self._connections:
            connection["silent"] = True

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, state: Any) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if not state["silent"]:
                    sink.write(data)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state = {"silent": False}
        self._connections.append(state)
        from_target, to_target = await asyncio.open_connection(self._host, self._port)
        await asyncio.gather(self._pump(reader, to_target, state), self._pump(from_target, writer, state))

    async def listen(self) -> str:
        """Start; returns the address."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
