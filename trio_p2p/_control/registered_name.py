"""A name that is registered over a connection to the broker, and the senders that ask for it."""

from __future__ import annotations

import logging
from typing import Final, TypeAlias

import trio

from .._errors import P2PError
from .._wire.messages import ConnectionRequest, RelayRequest, SenderEndpoint

MAX_WAITING: Final = 256  # introductions of one name that are not looked at yet

logger = logging.getLogger("trio_p2p.control")

Introducing: TypeAlias = SenderEndpoint | ConnectionRequest | RelayRequest


class RegisteredName:
    """A name that is held over one connection.

    Args:
        uid: the name.
    """

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self._put, self._got = trio.open_memory_channel[Introducing](MAX_WAITING)
        self._error: P2PError | None = None

    async def next_introduction(self) -> Introducing:
        """Wait for the next sender that the broker tells of.

        Raises:
            P2PError: the name is not held any more.
        """
        try:
            return await self._got.receive()
        except trio.EndOfChannel:
            assert self._error is not None
            raise self._error from None

    def put(self, introducing: Introducing) -> None:
        """Add a sender that the broker has told of."""
        try:
            self._put.send_nowait(introducing)
        except trio.WouldBlock:
            logger.info("an introduction to %r is dropped: too many have come at once", self.uid)
        except trio.BrokenResourceError:
            logger.debug("an introduction to %r has come too late", self.uid)

    def end(self, error: P2PError | None) -> None:
        """Hold the name no more; the first error that is given says why."""
        self._error = self._error or error
        self._put.close()
