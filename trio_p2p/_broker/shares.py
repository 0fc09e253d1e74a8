"""Tables that no source can fill for all others. Sans-IO.

A source is what :func:`~trio_p2p._broker.quota.network_of` makes of an address, alone or together
with something else.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import attrs

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shares(Generic[K, V]):
    """A table with a bound for each source, and one for all of them together.

    What is too much takes the place of the oldest entry: of the same source if the source has its
    share, else of all.

    Args:
        each: how many entries a source has at most.
        total: how many entries there are at most.
    """

    def __init__(self, each: int, total: int) -> None:
        self._each = each
        self._total = total
        self._entries: dict[K, tuple[Hashable, V]] = {}  # the oldest first
        self._of_source: dict[Hashable, dict[K, None]] = {}  # the same

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value of a key."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def put(self, source: Hashable, key: K, value: V) -> K | None:
        """Add an entry, as the newest one; the key of the one that it takes the place of."""
        self.pop(key)
        replaced: K | None = None
        if len(own := self._of_source.get(source, {})) >= self._each:
            replaced = next(iter(own))
        elif len(self._entries) >= self._total:
            replaced = next(iter(self._entries))
        if replaced is not None:
            self.pop(replaced)
        self._entries[key] = source, value
        self._of_source.setdefault(source, {})[key] = None
        return replaced

    def pop(self, key: K) -> V | None:
        """Remove an entry; its value."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        source, value = entry
        own = self._of_source[source]
        del own[key]
        if not own:
            del self._of_source[source]
        return value

    @property
    def oldest(self) -> tuple[K, V] | None:
        """The oldest entry."""
        for key, (_, value) in self._entries.items():
            return key, value
        return None


@attrs.define
class _Window:
    ends_at: float
    count: int = 0


class Windows:
    """Counts what sources do in windows of time.

    Args:
        seconds: how long a window is. It begins with the first thing that a source does.
        total: how many sources are remembered; the one that began first is forgotten first.
    """

    def __init__(self, seconds: float, total: int) -> None:
        self._seconds = seconds
        self._total = total
        self._windows: dict[Hashable, _Window] = {}  # the first to end first

    def count(self, source: Hashable, now: float) -> int:
        """Count one thing more; how many there were in this window with it."""
        window = self._windows.get(source)
        if window is None or window.ends_at <= now:
            self._windows.pop(source, None)
            window = self._windows[source] = _Window(now + self._seconds)
            if len(self._windows) > self._total:
                del self._windows[next(iter(self._windows))]
        window.count += 1
        return window.count

    def rest(self, source: Hashable, now: float) -> float:
        """How many seconds the window of a source lasts from now on."""
        window = self._windows.get(source)
        return 0.0 if window is None else max(0.0, window.ends_at - now)
