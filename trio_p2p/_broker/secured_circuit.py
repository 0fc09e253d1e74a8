"""The end of a circuit for a client that speaks TLS: its bytes cannot be spliced."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from .._net.tls_carrier import TLSStream, carry, open_socket_pair
from .circuit import Circuit

DESCRIPTORS: Final = 2  # that such a client takes, besides its connection
FAREWELL_TIME: Final = 2.0  # seconds to carry the last words


@attrs.frozen(eq=False)
class SecuredEnd:
    """One end of a circuit.

    Attributes:
        near: what the circuit carries from and to.
    """

    near: trio.SocketStream
    _far: trio.SocketStream
    _encrypted: TLSStream

    @classmethod
    def open(cls, encrypted: TLSStream) -> SecuredEnd:
        """The end for a client.

        Raises:
            OSError: no descriptor is left.
        """
        near, far = open_socket_pair()
        return cls(near, far, encrypted)

    async def carry(self, circuit: Circuit) -> None:
        """Carry the client's bytes until the circuit is over, and close everything."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry, self._encrypted, self._far)
            try:
                await circuit.carry(self.near)
            finally:
                self.near.socket.close()
                nursery.cancel_scope.deadline = trio.current_time() + FAREWELL_TIME

    def close(self) -> None:
        """Close the end, over which nothing is carried."""
        self.near.socket.close()
        self._far.socket.close()
