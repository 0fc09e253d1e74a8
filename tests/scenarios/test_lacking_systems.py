"""Peers and brokers connect on systems that lack something: Linux has it, others may not."""

from functools import partial

import pytest
import trio

from trio_p2p import Technique, serve_broker, serve_p2p
from trio_p2p._net.system import system_in_use

from ..kit.lab import Answer, KernelNetwork, Nat, NatKind, run, running
from ..kit.lacking_system import (
    ERROR_QUEUES,
    GUARDS,
    TCP_INFO,
    TCP_USER_TIMEOUT,
    LackingSystem,
)
from ..kit.loopback import echo, exchange, open_stream
from ..kit.streams import open_peers

DATA = bytes(range(256)) * 4096
PATIENCE = 60.0

SYSTEMS = {
    "guards": partial(LackingSystem, *GUARDS),
    "error queues": partial(LackingSystem, *ERROR_QUEUES),
    "facts of TCP": partial(LackingSystem, TCP_INFO, TCP_USER_TIMEOUT),
    "netlink": partial(LackingSystem, has_netlink=False),
    "splice": partial(LackingSystem, has_splice=False),
    "/proc": partial(LackingSystem, has_proc=False),
    "all of these": partial(
        LackingSystem,
        *(*GUARDS, *ERROR_QUEUES, TCP_INFO, TCP_USER_TIMEOUT),
        has_netlink=False,
        has_splice=False,
        has_proc=False,
    ),
}


@pytest.mark.parametrize("path", ["direct", "relay"])
@pytest.mark.parametrize("missing", SYSTEMS)
async def test_streams_where_something_is_missing(missing: str, path: str) -> None:
    with system_in_use(SYSTEMS[missing]()):
        async with (
            open_peers() as peers,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(trio.serve_listeners, echo, [peers.listener])
            stream = await peers.senders[path].open_stream("receiver")
            assert await exchange(stream, DATA) == DATA
            nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("missing", ["guards", "error queues", "all of these"])
@pytest.mark.parametrize("technique", [Technique.FAST, Technique.CLASSIC])
def test_direct_streams_through_nats_where_something_is_missing(
    kernel_network: KernelNetwork, technique: Technique, missing: str
) -> None:
    receiver, sender = (
        kernel_network.add_site(Nat(NatKind.MASQUERADE, Answer.DROP)) for _ in range(2)
    )
    broker = kernel_network.add_host()
    port = 4433

    async def send() -> bytes:
        with trio.fail_after(PATIENCE):
            async with open_stream("receiver", address, techniques=[technique]) as stream:
                return await exchange(stream, DATA)

    address = str(broker.host_address), port
    with (
        running(broker.host, partial(serve_broker, port, host=address[0])),
        system_in_use(SYSTEMS[missing]()),
        running(receiver.host, serve_p2p, echo, "receiver", address),
    ):
        assert run(sender.host, send) == DATA
