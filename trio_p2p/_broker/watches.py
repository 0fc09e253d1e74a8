"""Who wants to hear that a receiver has registered again: it may have moved. Sans-IO.

A watcher learns no more than it could by asking for introductions all the time: neither where the
receiver is, nor who. So any UID may be watched, also one that is not registered.
"""

from __future__ import annotations

import attrs

from .._identity.certificate import public_key_of_untrusted
from .._wire.messages import MAX_WATCHED, RefusalCode, RegisteredAgain, Watch
from .budget import RETRY_TIME as NO_ROOM_TIME, WATCH_BYTES, Budget
from .connection import Connection, Messages, Name
from .limits import BrokerLimits
from .parties import Holdings, Party
from .refusals import refuse

RETRY_TIME = 60.0  # seconds


@attrs.frozen(weakref_slot=False)
class _Watched:
    """What a connection watches.

    Attributes:
        party: for whom that counts: who the connection was known to be when it began.
        uids: the UIDs.
    """

    party: Party
    uids: set[str] = attrs.field(factory=set[str])


class Watches:
    """The watches of all connections; what does not watch costs nothing.

    Args:
        limits: what each party may watch.
        budget: the memory that is left.

    Attributes:
        limits: the argument of this name; may be replaced at any time.
    """

    def __init__(self, limits: BrokerLimits, budget: Budget) -> None:
        self.limits: BrokerLimits = limits
        self._budget = budget
        # The connections that watch a UID, and the key whose registration each waits for, if known.
        self._watchers: dict[str, dict[Connection, bytes | None]] = {}
        self._watched: dict[Connection, _Watched] = {}
        self._held = Holdings()
        self._total = 0

    def __len__(self) -> int:
        """How many there are."""
        return self._total

    def begin(self, watcher: Connection, message: Watch, holder: Name | None) -> None:
        """Tell a connection once when a UID is registered again.

        Args:
            watcher: whom to tell.
            message: what it watches; if it does so already, from now on.
            holder: what is registered under the UID now, if anything is.

        Raises:
            RefusalError: the connection or its party watches too many, or there is no room.
        """
        uid = message.uid
        watched = self._watched.get(watcher) or _Watched(watcher.party)
        if uid not in watched.uids:
            self._check_room(watcher, watched, message.number)
            self._watched[watcher] = watched
            watched.uids.add(uid)
            self._held.add(watched.party)
            self._budget.take(watcher.source, WATCH_BYTES)
            self._total += 1
        key = None if holder is None else public_key_of_untrusted(holder.certificate)
        self._watchers.setdefault(uid, {})[watcher] = key

    def forget(self, watcher: Connection, uid: str) -> None:
        """Forget the watch of a UID by a connection, if there is one."""
        watched = self._watched.get(watcher)
        if watched is not None and uid in watched.uids:
            watched.uids.remove(uid)
            self._forget(watcher, watched.party, uid)
            if not watched.uids:
                del self._watched[watcher]

    def registered(self, name: Name) -> Messages:
        """A receiver has registered; what to send to the connections that watch its UID."""
        uid = name.uid
        watchers = self._watchers.get(uid)
        if watchers is None:
            return []
        key = public_key_of_untrusted(name.certificate)
        told = [watcher for watcher, known in watchers.items() if known is None or known == key]
        for watcher in told:
            self.forget(watcher, uid)
        return [(watcher, RegisteredAgain(uid)) for watcher in told]

    def end(self, watcher: Connection) -> None:
        """Forget all watches of a connection."""
        watched = self._watched.pop(watcher, None)
        if watched is not None:
            for uid in watched.uids:
                self._forget(watcher, watched.party, uid)

    def _check_room(self, watcher: Connection, watched: _Watched, number: int | None) -> None:
        if len(watched.uids) >= MAX_WATCHED:
            refuse(
                RefusalCode.PROTOCOL_VIOLATION,
                f"a connection may watch {MAX_WATCHED} UIDs at a time: use another one for more",
                number,
            )
        limit = self.limits.watches
        if self._held.of(watched.party) >= limit:
            refuse(
                RefusalCode.BUSY,
                f"one IP address, or identity, may watch {limit} UIDs at a time: try again later",
                number,
                retry_after=RETRY_TIME,
            )
        if not self._budget.has_room(watcher.source, WATCH_BYTES):
            refuse(
                RefusalCode.BUSY,
                "this broker has no memory left for more watches of your network: try again later",
                number,
                retry_after=NO_ROOM_TIME,
            )

    def _forget(self, watcher: Connection, party: Party, uid: str) -> None:
        """Remove one watch from all but the set of its connection."""
        watchers = self._watchers[uid]
        del watchers[watcher]
        if not watchers:
            del self._watchers[uid]
        self._held.remove(party)
        self._total -= 1
        self._budget.give_back(watcher.source, WATCH_BYTES)
