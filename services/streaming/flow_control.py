"""Limits of what is leased from Pub/Sub at once."""

import asyncio
from typing import Final

OUTSTANDING_PULLS: Final = 4
_MAX_BYTES: Final = 64 * 1024 * 1024
"""Of all leased messages. Few messages are large, but each may have 10 MB."""
_USUAL_BYTES: Final = 1024


class FlowControl:
    """Limits the number and size of leased messages.

    The number is exact. The size is limited by asking for fewer messages while they are large; since sizes
    are unknown before messages arrive, the outstanding pulls may exceed it once.
    """

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages
        self._messages = OUTSTANDING_PULLS * max_messages
        self._bytes = _MAX_BYTES
        self._average = float(_USUAL_BYTES)
        self._freed = asyncio.Event()

    async def reserve(self) -> int:
        """Wait until messages may be leased; returns how many to ask for."""
        while self._messages <= 0 or self._bytes <= 0:
            self._freed.clear()
            await self._freed.wait()
        share = int(self._bytes / OUTSTANDING_PULLS / self._average)
        number = max(1, min(self._max_messages, self._messages, share))
        self._messages -= number
        return number

    def take(self, messages: int, size: int) -> None:
        """Add the size of messages that came."""
        self._bytes -= size
        # A large average decays over about ten pulls.
        average = size / messages
        self._average = max(0.8 * self._average + 0.2 * average, average, 1.0)

    def free(self, messages: int, size: int) -> None:
        """Remove messages, or a reservation that was not used."""
        self._messages += messages
        self._bytes += size
        self._freed.set()
