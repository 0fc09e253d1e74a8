"""Two TLS engines that talk to each other without a socket."""

import attrs

from trio_p2p._identity.identity import Identity
from trio_p2p._stream.tls import TLSEngine, make_context

CLIENT, SERVER, STRANGER = (Identity.generate() for _ in range(3))


def engine(identity: Identity, expected: Identity, *, server_side: bool) -> TLSEngine:
    """One side of a connection."""
    return TLSEngine(
        make_context(identity), server_side=server_side, peer_certificate=expected.certificate
    )


@attrs.define
class Pair:
    """A client and a server in the midst of their handshake."""

    client: TLSEngine = attrs.field(factory=lambda: engine(CLIENT, SERVER, server_side=False))
    server: TLSEngine = attrs.field(factory=lambda: engine(SERVER, CLIENT, server_side=True))

    def shake_hands(self) -> None:
        """All of it; the first failure raises, with the alert yet to be delivered."""
        assert not self.client.handshake()
        self.to_server()
        assert not self.server.handshake()
        self.to_client()
        assert self.client.handshake()
        self.to_server()
        assert self.server.handshake()

    def to_server(self) -> None:
        """Deliver the client's flight."""
        self.server.feed(self.client.take_outgoing())

    def to_client(self) -> None:
        """Deliver the server's flight."""
        self.client.feed(self.server.take_outgoing())


def connected() -> Pair:
    """A pair whose handshake has ended."""
    pair = Pair()
    pair.shake_hands()
    return pair
