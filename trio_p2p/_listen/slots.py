"""Shares the introductions that a receiver makes at a time among the senders that ask. Sans-IO.

A sender has proven nothing when it is introduced, and an introduction lasts for seconds. So that
no source can use up all slots, a source that holds fewer than another takes one from it, and, of
the senders at one source, so does an identity. What has been proven is never taken away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TypeVar

import attrs

K = TypeVar("K", bound=Hashable)


@attrs.frozen
class Holder:
    """On whose behalf an introduction is made, as far as the broker says.

    Attributes:
        source: what all senders of one IPv4 address, or IPv6 /64, have in common.
        identity: the sender's certificate, which it has not proven to be its own.
    """

    source: Hashable
    identity: Hashable


@attrs.define(eq=False)
class Slot:
    """One introduction under way.

    Attributes:
        holder: on whose behalf.
        is_proven: whether the sender has been admitted, or has shown the proof of the nonce.
    """

    holder: Holder
    is_proven: bool = False


class Slots:
    """A number of slots.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken: dict[Slot, None] = {}  # the oldest first
        self._by_source: Counter[Hashable] = Counter()
        self._by_holder: Counter[Holder] = Counter()

    def __len__(self) -> int:
        """How many slots are taken."""
        return len(self._taken)

    def __contains__(self, slot: Slot) -> bool:
        """Whether a slot is still taken."""
        return slot in self._taken

    @property
    def is_full(self) -> bool:
        """Whether all are taken."""
        return len(self._taken) == self._count

    def take(self, holder: Holder) -> Slot:
        """Take a free slot; there must be one."""
        assert not self.is_full
        slot = Slot(holder)
        self._taken[slot] = None
        self._by_source[holder.source] += 1
        self._by_holder[holder] += 1
        return slot

    def release(self, slot: Slot) -> None:
        """Free a slot, unless that was done before."""
        if slot in self._taken:
            del self._taken[slot]
            _decrease(self._by_source, slot.holder.source)
            _decrease(self._by_holder, slot.holder)

    def giving_way_to(self, newcomer: Holder) -> Slot | None:
        """Return the slot that gives way to a newcomer; None if the newcomer has to wait."""
        unproven = [slot for slot in self._taken if not slot.is_proven]
        most = max((self._by_source[slot.holder.source] for slot in unproven), default=0)
        if self._by_source[newcomer.source] < most:
            crowd = [slot for slot in unproven if self._by_source[slot.holder.source] == most]
            source = crowd[0].holder.source
            rivals = [slot for slot in crowd if slot.holder.source == source]
            held = max(self._by_holder[slot.holder] for slot in rivals)
        else:
            rivals = [slot for slot in unproven if slot.holder.source == newcomer.source]
            held = max((self._by_holder[slot.holder] for slot in rivals), default=0)
            if self._by_holder[newcomer] >= held:
                return None
        return next(slot for slot in rivals if self._by_holder[slot.holder] == held)


def _decrease(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
