"""A cache of bounded size."""

import collections
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

MAX_BYTES: Final = 16 * 1024 * 1024

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """Holds up to MAX_BYTES and drops the least recently used entries first."""

    def __init__(self) -> None:
        self.bytes = 0  # of the entries
        self._entries: collections.OrderedDict[Key, tuple[Value, int]] = collections.OrderedDict()

    def get(self, key: Key) -> Value | None:
        """The value of a key, if cached."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Cache the value of a new key; `size` is its memory in bytes."""
        self._entries[key] = value, size
        self.bytes += size
        while self.bytes > MAX_BYTES:
            self.bytes -= self._entries.popitem(last=False)[1][1]
