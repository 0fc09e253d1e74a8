"""A TCP connection to a peer, not yet secured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from ._addresses import Endpoint
from ._attempt import Technique


async def _has_proven_itself() -> None:
    """Do nothing: the peer has proven itself already, or does so by TLS alone."""


@attrs.frozen
class PeerConnection:
    """A connection that came of an introduction.

    Attributes:
        stream: the TCP connection.
        technique: how the peers were introduced.
        certificate: the other peer's, as the broker says.
        circuit: the id of the relay's circuit, if the broker relays it.
        received: what has been read from the stream already.
        confirm: waits until the peer has proven to be the introduced one, and reads nothing beyond
            that. To be called before anything else is read. Raises WrongPeerError, BusyError,
            PathLostError, or OSError if the connection broke.
        endpoints: the local and the remote one of a relayed connection, which the stream may not
            know.
    """

    stream: trio.SocketStream
    technique: Technique
    certificate: bytes = attrs.field(repr=False)
    circuit: bytes = attrs.field(default=b"", repr=False)
    received: bytes = attrs.field(default=b"", repr=False)
    confirm: Callable[[], Awaitable[None]] = attrs.field(default=_has_proven_itself, repr=False)
    endpoints: tuple[Endpoint, Endpoint] | None = None

    def close(self) -> None:
        """Close the connection at once."""
        self.stream.socket.close()
