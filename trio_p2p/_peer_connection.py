"""A TCP connection to a peer, not yet secured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs
import trio

from ._attempt import Attempt, Technique

OnAttempt: TypeAlias = Callable[[Attempt], object]


@attrs.frozen
class PeerConnection:
    """A connection that came of an introduction.

    Attributes:
        stream: it.
        technique: how the peers were introduced.
        certificate: the other peer's, as the broker says.
        circuit: the id of the relay's circuit, if the broker relays it.
        received: what has been read from the stream already.
    """

    stream: trio.SocketStream
    technique: Technique
    certificate: bytes = attrs.field(repr=False)
    circuit: bytes = attrs.field(default=b"", repr=False)
    received: bytes = attrs.field(default=b"", repr=False)

    def close(self) -> None:
        """Close it at once: nobody is going to have it."""
        self.stream.socket.close()
