"""The receiver that a command connects to: it stays who it was the first time, as SSH has it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from .._errors import WrongPeerError
from .._identity.peer_id import PeerId
from .._peer.peer import Peer
from .._stream.p2p_connection import P2PConnection
from .._stream.p2p_stream import P2PStream
from .known_peers import KnownPeers

M = TypeVar("M", P2PConnection, P2PStream)


class TrustedReceiver:
    """The receiver of a UID.

    Args:
        peer: what connects to it.
        broker: the broker that introduces it, host and port.
        uid: its UID, or a name that the user has given it, which stands for its peer id.
        expect: the peer id that the user has said it has to have. If None it is that which has
            answered to the UID before, and the first one is remembered.

    Attributes:
        uid: its UID.

    Raises:
        CommandError: what is remembered cannot be read.
    """

    def __init__(
        self, peer: Peer, broker: tuple[str, int], uid: str, expect: PeerId | None
    ) -> None:
        self.uid = uid
        self._peer = peer
        self._broker = broker
        self._known_peers = KnownPeers() if expect is None else None
        self._expected = expect
        if self._known_peers is not None:
            named = self._known_peers.named(uid)
            self.uid = uid if named is None else str(named)
            self._expected = self._known_peers.lookup(broker, self.uid)

    async def open_stream(self, *, protocol: str = "", wait: bool = False) -> P2PStream:
        """Open a stream to it; see :meth:`Peer.open_stream`.

        Raises:
            WrongPeerError: another peer answers.
            CommandError: who has answered cannot be remembered.
            P2PError: as :meth:`Peer.open_stream`.
        """
        open_stream = partial(self._peer.open_stream, self.uid, protocol=protocol, wait=wait)
        return await self._meet(lambda expect: open_stream(expect=expect))

    async def connect(self, *, wait: bool = False, path: str | None = None) -> P2PConnection:
        """Connect to it; see :meth:`Peer.connect`.

        Raises:
            WrongPeerError: another peer answers.
            CommandError: who has answered cannot be remembered.
            P2PError: as :meth:`Peer.connect`.
        """
        connect = partial(self._peer.connect, self.uid, wait=wait, path=path)
        return await self._meet(lambda expect: connect(expect=expect))

    async def _meet(self, meet: Callable[[PeerId | None], Awaitable[M]]) -> M:
        known_peers, expected = self._known_peers, self._expected
        try:
            met = await meet(expected)
        except WrongPeerError as error:
            if known_peers is None or expected is None:
                raise
            raise known_peers.changed_peer_error(
                self._broker, self.uid, known=expected, found=error.found
            ) from error
        if known_peers is not None and expected is None:
            known_peers.remember(self._broker, self.uid, met.peer_id)
            self._expected = met.peer_id
        return met
