"""The connections that a peer has made: one to each receiver, however many tasks ask for it."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable

import attrs
import trio

from .._identity.peer_id import PeerId
from .._stream.p2p_connection import P2PConnection
from .._stream.session import Session
from .._stream.stream_path import PathKind


@attrs.frozen
class Target:
    """What a connection is to lead to.

    Attributes:
        uid: the receiver's UID.
        expected: the peer id that the receiver has to have; any if None.
        kind: the only kind of path to take; any if None.
    """

    uid: str
    expected: PeerId | None = None
    kind: PathKind | None = None


@attrs.frozen(eq=False)
class Made:
    """A connection that this side has made.

    Attributes:
        target: what it was made for.
        connection: the connection.
        uids: other UIDs of the program that it leads to, which have been asked for.
    """

    target: Target
    connection: P2PConnection
    uids: set[str] = attrs.field(factory=set[str])

    def suits(self, target: Target) -> bool:
        """Whether it leads to a target."""
        is_alike = target.uid == self.target.uid or target.uid in self.uids
        is_expected = target.expected is None or target.expected == self.connection.peer_id
        return is_alike and is_expected and target.kind == self.target.kind

    def is_same_program(self, other: Made) -> bool:
        """Whether another connection leads to the same program, in the same way."""
        return (
            self.connection.peer_instance == other.connection.peer_instance != b""
            and self.connection.peer_id == other.connection.peer_id
            and self.target.kind == other.target.kind
        )


class Search:
    """One search for a connection, for all tasks that wait for it.

    Attributes:
        scope: ends the search.
        waiting: how many tasks wait.
        is_taken: whether a task has got what came of it.
        found: the connection, once there is one.
        error: why there is none.
        ended: set at the end.
    """

    def __init__(self) -> None:
        self.scope: trio.CancelScope = trio.CancelScope()
        self.waiting: int = 0
        self.is_taken: bool = False
        self.found: P2PConnection | None = None
        self.error: Exception | None = None
        self.ended: trio.Event = trio.Event()


class Pool:
    """The connections that a peer has made.

    Args:
        connect: makes one.
        nursery: for the searches.
    """

    def __init__(
        self, connect: Callable[[Target], Awaitable[P2PConnection]], nursery: trio.Nursery
    ) -> None:
        self._connect = connect
        self._nursery = nursery
        self._made: list[Made] = []  # the oldest first
        self._searches: dict[Target, Search] = {}
        self._begun: dict[Session, PeerId] = {}

    def is_only(self, session: Session, peer_id: PeerId) -> bool:
        """Whether there is no other session with a peer than one that begins."""
        self._begun = {each: known for each, known in self._begun.items() if not each.is_over}
        others = {known for each, known in self._begun.items() if each is not session}
        self._begun[session] = peer_id
        return peer_id not in others

    async def get(self, target: Target) -> Made:
        """The connection to a target, perhaps a new one.

        Raises:
            P2PError: there is none.

        If cancelled, and no other task waits for the same connection, the search is ended.
        """
        while True:
            made = self._find(target)
            if made is None:
                made = Made(target, await self._search(target))
            # Without a path it is not known whether the other side is still there.
            if await made.connection.wait_usable():
                return made
            await trio.lowlevel.checkpoint_if_cancelled()  # the connection is over for that reason
            made.connection.check_admitted()

    def _find(self, target: Target) -> Made | None:
        self._clear()
        for made in self._made:
            if made.suits(target):
                return self._joined(made)
        return None

    def _joined(self, made: Made) -> Made:
        """The oldest connection to the same program, to which another one gives way."""
        older = next(each for each in self._made if each is made or each.is_same_program(made))
        if older is made or made.connection.is_kept:
            return made
        older.uids.update({made.target.uid}, made.uids)
        made.connection.retire()
        return older

    def _clear(self) -> None:
        self._made = [made for made in self._made if made.connection.is_usable]

    async def _search(self, target: Target) -> P2PConnection:
        search = self._searches.get(target)
        if search is None:
            search = self._searches[target] = Search()
            self._nursery.start_soon(self._run, target, search)
        search.waiting += 1
        try:
            await search.ended.wait()
            search.is_taken = True
        finally:
            search.waiting -= 1
            if not (search.waiting or search.is_taken):
                self._give_up(target, search)
        if search.error is not None:
            raise copy.copy(search.error) from search.error.__cause__  # one for each caller
        if search.found is None:
            raise trio.ClosedResourceError("this peer was left: open another one")
        return search.found

    def _give_up(self, target: Target, search: Search) -> None:
        """End a search that no task waits for, and close what it has just found."""
        search.scope.cancel(reason="no task waits for the connection any more")
        if self._searches.get(target) is search:
            del self._searches[target]
        if search.found is not None and not search.found.is_kept:
            search.found.retire()

    async def _run(self, target: Target, search: Search) -> None:
        try:
            with search.scope:
                search.found = await self._connect(target)
                if search.scope.cancel_called:  # when it had just been made
                    search.found.begin_closing()
                else:
                    self._made.append(Made(target, search.found))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            search.error = error
        finally:
            if self._searches.get(target) is search:
                del self._searches[target]
            search.ended.set()
