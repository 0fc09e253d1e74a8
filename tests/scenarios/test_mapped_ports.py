"""A router that maps ports makes the worst of NATs connect."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_p2p import P2PStream, StreamPath, serve_broker, serve_p2p
from trio_p2p._lab.namespaces import NamespacesUnavailableError

from ..kit.commands import command
from ..kit.lab import Nat, SymmetricKind, popen, run, running
from ..kit.loopback import DIRECT_TECHNIQUES, open_stream
from ..kit.miniupnpd import EXTERNAL, MappingNetwork

PATIENCE = 60.0  # seconds until a pair that does not connect fails its test
AT_RANDOM = Nat(SymmetricKind.RANDOM)
Broker = tuple[str, int]


@pytest.fixture
def network(_namespaces: None) -> Iterator[MappingNetwork]:
    try:
        network = MappingNetwork(nat=AT_RANDOM)
    except NamespacesUnavailableError as error:
        pytest.skip(str(error))
    with network:
        yield network


@pytest.fixture
def broker(network: MappingNetwork) -> Iterator[Broker]:
    host = network.add_host()
    address = str(host.host_address)
    with running(host.host, partial(serve_broker, 0, host=address, probe_port=0)) as listeners:
        yield address, listeners[0].socket.getsockname()[1]


def test_two_nats_at_random_connect_if_one_router_maps_ports(
    network: MappingNetwork, broker: Broker
) -> None:
    with network.mapping():
        sender = network.add_site(AT_RANDOM)
        with running(network.site.host, serve_p2p, _echo, "receiver", broker):
            network.wait_mapped(1)
            assert run(sender.host, _connect, broker).remote.address == EXTERNAL
        network.wait_mapped(0)


def test_the_router_may_know_nothing_but_upnp(
    network: MappingNetwork, broker: Broker, tmp_path: Path
) -> None:
    where = ("--broker", ":".join(map(str, broker)), "--identity", str(tmp_path / "key"))
    listen = command("trio-p2p", "listen", "receiver", *where)
    with network.mapping(is_upnp_only=True), popen(network.site.host, *listen) as receiver:
        network.wait_mapped(1)
        assert receiver.stdin is not None
        receiver.stdin.write("?")
        receiver.stdin.flush()
        sender = network.add_site(AT_RANDOM)
        assert run(sender.host, _connect, broker).remote.address == EXTERNAL
        receiver.communicate()
        network.wait_mapped(0)


async def _connect(broker: Broker) -> StreamPath:
    with trio.fail_after(PATIENCE):
        async with open_stream("receiver", broker, techniques=DIRECT_TECHNIQUES) as stream:
            await stream.send_all(b"?")
            assert await stream.receive_some() == b"?"
            assert stream.path is not None
            return stream.path


async def _echo(stream: P2PStream) -> None:
    async for data in stream:
        await stream.send_all(data)
