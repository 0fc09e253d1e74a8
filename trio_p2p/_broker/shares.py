"""Tables that no source can fill for all others. Sans-IO.

A source is what :func:`~trio_p2p._broker.parties.network_of` makes of an address, alone or together
with something else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import attrs

S = TypeVar("S", bound=Hashable)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def _no_group(_source: object) -> Hashable:
    """The group that all sources are in."""
    return None


class Shares(Generic[S, K, V]):
    """A table with a bound for each source, and one for all of them together.

    What is too much takes the place of the oldest entry: of the same source if the source has its
    share, of the same group of sources if that has its own, else of all.

    Args:
        each: how many entries a source has at most.
        total: how many entries there are at most.
        of_group: how many entries the sources of one group have at most; ``total`` if None.
        group_of: the group of a source.
    """

    def __init__(
        self,
        each: int,
        total: int,
        of_group: int | None = None,
        group_of: Callable[[S], Hashable] = _no_group,
    ) -> None:
        self._each = each
        self._total = total
        self._of_group = total if of_group is None else of_group
        self._group_of = group_of
        # All with the oldest first. Other than that of a plain dict, the first key of an ordered
        # one is found at once where others were removed before it.
        self._entries: OrderedDict[K, tuple[S, V]] = OrderedDict()
        self._keys_of: dict[tuple[str, Hashable], OrderedDict[K, None]] = {}

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value of a key."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def put(self, source: S, key: K, value: V) -> K | None:
        """Add an entry, as the newest one; the key of the one that it takes the place of."""
        self.pop(key)
        replaced: K | None = None
        own, group = (self._keys_of.get(each, ()) for each in self._holders(source))
        if len(own) >= self._each:
            replaced = next(iter(own))
        elif len(group) >= self._of_group:
            replaced = next(iter(group))
        elif len(self._entries) >= self._total:
            replaced = next(iter(self._entries))
        if replaced is not None:
            self.pop(replaced)
        self._entries[key] = source, value
        for holder in self._holders(source):
            self._keys_of.setdefault(holder, OrderedDict())[key] = None
        return replaced

    def pop(self, key: K) -> V | None:
        """Remove an entry; its value."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        source, value = entry
        for holder in self._holders(source):
            keys = self._keys_of[holder]
            del keys[key]
            if not keys:
                del self._keys_of[holder]
        return value

    def _holders(self, source: S) -> tuple[tuple[str, Hashable], tuple[str, Hashable]]:
        return ("source", source), ("group", self._group_of(source))

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
        self._windows: OrderedDict[Hashable, _Window] = OrderedDict()  # the first to end first

    def counted(self, source: Hashable, now: float) -> int:
        """How many things there were in the window of a source that lasts now."""
        window = self._windows.get(source)
        return 0 if window is None or window.ends_at <= now else window.count

    def count(self, source: Hashable, now: float, number: int = 1) -> int:
        """Count one thing more, or some; how many there were in this window with it."""
        window = self._windows.get(source)
        if window is None or window.ends_at <= now:
            self._windows.pop(source, None)
            window = self._windows[source] = _Window(now + self._seconds)
            if len(self._windows) > self._total:
                self._windows.popitem(last=False)
        window.count += number
        return window.count

    def rest(self, source: Hashable, now: float) -> float:
        """How many seconds the window of a source lasts from now on."""
        window = self._windows.get(source)
        return 0.0 if window is None else max(0.0, window.ends_at - now)
