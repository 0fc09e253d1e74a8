"""Peers behind the same NATs, and behind several."""

from dataclasses import replace
from functools import partial

import trio

from trio_p2p import P2PStream, PathKind, StreamPath, serve_broker, serve_p2p

from ..kit.lab import KINDS, Host, NatBehaviour, UserspaceNetwork, run, running
from ..kit.loopback import TECHNIQUES, open_stream

PATIENCE = 60.0  # seconds until a pair that does not connect fails its test


def kind(name: str) -> NatBehaviour:
    nat = KINDS[name]
    assert nat is not None
    return nat


def connect(
    network: UserspaceNetwork, sender: Host, receiver: Host, path: str = "direct"
) -> StreamPath:
    """The path of a stream between two hosts of a network, which gets a broker."""
    broker = network.add_host()
    serve = partial(serve_broker, 0, host=str(broker.host_address), probe_port=0)
    with running(broker.host, serve) as listeners:
        address = (str(broker.host_address), listeners[0].socket.getsockname()[1])
        with running(receiver.host, serve_p2p, _echo, "receiver", address):
            return run(sender.host, _connect, address, path)


def test_peers_in_one_lan_meet_there(userspace_network: UserspaceNetwork) -> None:
    network = userspace_network
    gateway = network.add_nat(kind("masquerade-rst"))
    sender, receiver = (network.add_host(behind=gateway) for _ in range(2))
    path = connect(network, sender, receiver)
    assert path.local.address == sender.host_address
    assert path.remote.address == receiver.host_address


def test_peers_behind_two_nats_each_connect(userspace_network: UserspaceNetwork) -> None:
    network = userspace_network
    sender, receiver = (
        network.add_site(kind("masquerade-rst"), kind("eim-apdf-rst")) for _ in range(2)
    )
    path = connect(network, sender, receiver)
    assert path.remote.address == receiver.public_address


def test_customers_of_a_carrier_whose_nat_hairpins_connect(
    userspace_network: UserspaceNetwork,
) -> None:
    network = userspace_network
    carrier = network.add_carrier(replace(kind("eim-apdf"), hairpins=True))
    sender, receiver = (network.add_site(kind("masquerade"), behind=carrier) for _ in range(2))
    path = connect(network, sender, receiver)
    assert path.remote.address == receiver.public_address


def test_customers_of_a_carrier_whose_nat_does_not_are_relayed(
    userspace_network: UserspaceNetwork,
) -> None:
    network = userspace_network
    carrier = network.add_carrier(kind("eim-apdf"))
    sender, receiver = (network.add_site(kind("masquerade"), behind=carrier) for _ in range(2))
    assert connect(network, sender, receiver, "any").kind is PathKind.RELAY


async def _connect(broker: tuple[str, int], path: str) -> StreamPath:
    with trio.fail_after(PATIENCE):
        async with open_stream("receiver", broker, techniques=TECHNIQUES[path]) as stream:
            await stream.send_all(b"?")
            assert await stream.receive_some() == b"?"
            assert stream.path is not None
            return stream.path


async def _echo(stream: P2PStream) -> None:
    async for data in stream:
        await stream.send_all(data)
