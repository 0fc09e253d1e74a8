"""A TCP connection between two peers, and the check that is driven over it."""

from __future__ import annotations

from typing import Final

import trio

from .._errors import BusyError, PathLostError, WrongPeerError
from .._net.os_errors import no_room_error
from .._net.sockets import send_at_once
from .check import Check, Verdict

BUSY_TIME: Final = 1.0  # seconds after which to try again


class CheckedConnection:
    """A connection whose check may still be under way.

    Attributes:
        socket: the connection.
        check: its check, which nothing else drives.
    """

    def __init__(self, socket: trio.socket.SocketType, check: Check) -> None:
        self.socket = socket
        self.check = check

    def say(self) -> None:
        """Send what the check has to say; the socket's buffer, being empty, has room.

        Raises:
            OSError: the connection broke.
        """
        outgoing = self.check.take_outgoing()
        while outgoing:
            sent = send_at_once(self.socket, outgoing)
            if not sent:
                raise no_room_error()
            outgoing = outgoing[sent:]

    async def hear(self) -> None:
        """Receive some of what the check waits for; if cancelled, nothing is lost.

        Raises:
            OSError: the connection broke.
        """
        self.check.receive(await self.socket.recv(self.check.missing))

    async def confirm(self) -> None:
        """Wait for the receiver's proof, if it is still to come: nothing behind it is read.

        Raises:
            WrongPeerError: the other side is not the introduced peer.
            BusyError: the receiver has declined the introduction.
            PathLostError: the connection ended before.
            OSError: the connection broke.
        """
        while self.check.missing:
            await self.hear()
        match self.check.verdict:
            case Verdict.PEER:
                return
            case Verdict.BUSY:
                raise busy_error()
            case Verdict.WRONG_PEER:
                raise WrongPeerError(
                    "the peer that answered could not prove to be the introduced one: "
                    "open another stream"
                )
            case _:
                raise PathLostError(
                    "the connection ended before the peer had proven to be the introduced one"
                )

    def close(self) -> None:
        """Close the connection at once."""
        self.socket.close()


def busy_error() -> BusyError:
    """The error to raise if the receiver has declined the introduction."""
    return BusyError("the receiver has no room now: open another stream", retry_after=BUSY_TIME)
