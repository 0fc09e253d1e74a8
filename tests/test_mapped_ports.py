"""A router that maps ports makes the worst of NATs connect."""

from functools import partial

import pytest
import trio

from trio_p2p import P2PStream, StreamPath, open_p2p_stream, serve_broker, serve_p2p
from trio_p2p._lab.namespaces import NamespacesUnavailableError

from .lab import Nat, SymmetricKind, run, running
from .miniupnpd import EXTERNAL, MappingNetwork

PATIENCE = 30.0  # seconds until a pair that does not connect fails its test
AT_RANDOM = Nat(SymmetricKind.RANDOM)


@pytest.mark.usefixtures("_namespaces")
def test_two_nats_at_random_connect_if_one_router_maps_ports() -> None:
    try:
        network = MappingNetwork(nat=AT_RANDOM)
    except NamespacesUnavailableError as error:
        pytest.skip(str(error))
    with network, network.mapping():
        broker, sender = network.add_host(), network.add_site(AT_RANDOM)
        serve = partial(serve_broker, 0, host=str(broker.host_address), probe_port=0)
        with running(broker.host, serve) as listeners:
            address = (str(broker.host_address), listeners[0].socket.getsockname()[1])
            with running(network.site.host, serve_p2p, _echo, "receiver", address):
                network.wait_mapped(1)
                assert run(sender.host, _connect, address).remote.address == EXTERNAL
        network.wait_mapped(0)


async def _connect(broker: tuple[str, int]) -> StreamPath:
    with trio.fail_after(PATIENCE):
        async with open_p2p_stream("receiver", broker, path="direct") as stream:
            await stream.send_all(b"?")
            assert await stream.receive_some() == b"?"
            assert stream.path is not None
            return stream.path


async def _echo(stream: P2PStream) -> None:
    async for data in stream:
        await stream.send_all(data)
