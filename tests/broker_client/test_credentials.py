"""When a program proves who it is before it asks a broker for anything."""

from ipaddress import IPv4Address

import attrs
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trio_p2p import BrokerLostError, Endpoint, Identity
from trio_p2p._broker_client.credentials import Credentials
from trio_p2p._identity.access_token import AccessToken, Use
from trio_p2p._identity.certificate import identification_statement, is_signed_untrusted
from trio_p2p._wire.messages import Hello, Identify, KeepAlive

from ..kit.loopback import PATIENCE, finder_of
from ..kit.raw_client import RawClient

BROKER = Endpoint(IPv4Address("198.51.100.7"), 4433)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
TOKEN = AccessToken(bytes(8), frozenset(Use), 0)


def test_a_proof_is_wanted_if_the_token_is_for_one_peer() -> None:
    me = Identity.generate()
    assert not Credentials(me).is_proof_wanted
    assert not Credentials(me, TOKEN.sign(KEY)).is_proof_wanted
    bound = attrs.evolve(TOKEN, peer_id=me.peer_id).sign(KEY)
    assert Credentials(me, bound).is_proof_wanted


def test_a_proof_is_wanted_on_the_next_connections_of_a_broker_that_has_asked_for_one() -> None:
    me = Identity.generate()
    credentials = Credentials(me)
    proof = credentials.prove(bytes(32), BROKER)
    assert credentials.is_proof_wanted
    assert proof.certificate == me.certificate
    statement = identification_statement(bytes(32), BROKER)
    assert is_signed_untrusted(proof.certificate, proof.signature, statement)


@pytest.mark.parametrize("is_bound", [False, True], ids=["for any holder", "for one peer"])
async def test_only_a_token_for_one_peer_costs_a_round_trip(*, is_bound: bool) -> None:
    me = Identity.generate()
    peer_id = me.peer_id if is_bound else None
    token = attrs.evolve(TOKEN, peer_id=peer_id).sign(KEY)
    said: list[str] = []

    async def broker(stream: trio.SocketStream) -> None:
        client = RawClient(stream)
        assert (await client.receive(Hello)).token == token
        if not is_bound:  # the request has come along
            await client.receive(KeepAlive)
            said.append("request")
        await client.send(Hello(challenge=bytes(32), wants_proof=is_bound or None))
        said.append("greeting")
        if is_bound:
            await client.receive(Identify)
            await client.receive(KeepAlive)
            said.append("request")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, broker, 0)
            port = listeners[0].socket.getsockname()[1]
            finder = finder_of("127.0.0.1", port, Credentials(me, token))
            async with await finder.find(()) as connection:
                await connection.send(KeepAlive())
                with pytest.raises(BrokerLostError):
                    await connection.receive()
            nursery.cancel_scope.cancel(reason="the test is over")
    assert said == (["greeting", "request"] if is_bound else ["request", "greeting"])
