"""What is prepared before there is a connection, and what comes of it."""

import ssl

import pytest
import trio

from trio_p2p import _securing as securing
from trio_p2p._errors import RemoteProtocolError, Technique
from trio_p2p._identity import Identity
from trio_p2p._introduction import PeerConnection
from trio_p2p._securing import Securer
from trio_p2p._stream.tls import make_context

from .loopback import held, open_streams

CLIENT, SERVER = Identity.generate(), Identity.generate()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The certificates that contexts were made for."""
    certificates: list[bytes] = []

    def note(identity: Identity, certificate: bytes, *, server_side: bool) -> ssl.SSLContext:
        certificates.append(certificate)
        return make_context(identity, certificate, server_side=server_side)

    monkeypatch.setattr(securing, "make_context", note)
    return certificates


async def secure(securer: Securer, stream: trio.SocketStream, peer: Identity) -> None:
    path, described, peer_id = await securer.secure(
        PeerConnection(stream, Technique.FAST, peer.certificate)
    )
    path.send_last_flight()
    path.close()
    assert (described.technique, peer_id) == (Technique.FAST, peer.peer_id)


async def test_both_sides_are_prepared_once_for_all_connections(made: list[bytes]) -> None:
    client, server = Securer(CLIENT, server_side=False), Securer(SERVER, server_side=True)
    client.prepare(SERVER.certificate)
    server.prepare(CLIENT.certificate)
    assert made == [SERVER.certificate, CLIENT.certificate]
    for _ in range(2):
        async with open_streams() as (dialled, accepted), trio.open_nursery() as nursery:
            nursery.start_soon(secure, client, dialled, SERVER)
            nursery.start_soon(secure, server, accepted, CLIENT)
    assert len(made) == 2


async def test_what_cannot_be_prepared_fails_when_there_is_a_connection() -> None:
    before = held()
    securer = Securer(CLIENT, server_side=False)
    securer.prepare(b"no certificate")
    async with open_streams() as (dialled, _):
        with pytest.raises(RemoteProtocolError):
            await securer.secure(PeerConnection(dialled, Technique.FAST, b"no certificate"))
    assert held() == before
