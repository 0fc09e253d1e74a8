"""Every pair of thirteen kinds of NAT: direct wherever TCP can be, and the relay elsewhere."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import attrs
import pytest
import trio

from trio_p2p import (
    Attempt,
    Outcome,
    P2PListener,
    P2PStream,
    PathKind,
    open_p2p_stream,
    serve_broker,
    serve_p2p,
)

from .lab import NamespacesUnavailableError, UserspaceNetwork, run, running
from .lab.kinds import KINDS
from .lab.userspace import UserspaceHost

PATIENCE = 60.0  # seconds until a pair that does not connect fails its test
GREETING = b"hello from behind a NAT"
# With TRIO_P2P_SOAK=1 all pairs, five times; else of those that have to look at their NATs, and may
# have to guess, one of each sort.
IS_SOAK = bool(os.environ.get("TRIO_P2P_SOAK"))
RUNS = 5 if IS_SOAK else 1
TYPICAL = {
    "public",
    "eim-eif",
    "eim-adf",
    "eim-apdf",
    "masquerade-rst",
    "sequential-rst",
    "random",
}
SYMMETRIC = {"sequential", "sequential-rst", "random", "random-rst"}
AT_RANDOM = {"random", "random-rst"}
Broker = tuple[str, int]


@attrs.frozen
class Lab:
    """A broker that answers on two ports, a receiver behind each kind of NAT, and senders."""

    broker: Broker
    receivers: dict[str, P2PListener[P2PStream]]
    senders: dict[str, UserspaceHost]

    def connect(self, sender: str, receiver: str, path: str) -> PathKind:
        """Open a stream, and have it echo; what carries it."""
        return run(self.senders[sender].host, _connect, receiver, self.broker, path)


@pytest.fixture(scope="module")
def lab(_namespaces: None) -> Iterator[Lab]:
    try:
        network = UserspaceNetwork(seed="every NAT")
    except NamespacesUnavailableError as error:
        pytest.skip(str(error))
    with network, ExitStack() as stack:
        host = network.add_host()
        serve = partial(serve_broker, 0, host=str(host.host_address), probe_port=0)
        [listener, *_] = stack.enter_context(running(host.host, serve))
        broker = (str(host.host_address), listener.socket.getsockname()[1])
        receivers: dict[str, P2PListener[P2PStream]] = {}
        for kind, nat in KINDS.items():
            site = network.add_site(nat)
            [receivers[kind]] = stack.enter_context(
                running(site.host, serve_p2p, _echo, kind, broker)
            )
        yield Lab(broker, receivers, {kind: network.add_site(KINDS[kind]) for kind in KINDS})


def is_tried(sender: str, receiver: str) -> bool:
    both = {sender, receiver}
    return IS_SOAK or not both & SYMMETRIC or both <= TYPICAL


def is_hopeless(sender: str, receiver: str) -> bool:
    both = {sender, receiver}
    return both <= SYMMETRIC and bool(both & AT_RANDOM)


@pytest.mark.parametrize("sender", KINDS)
def test_every_pair_connects(lab: Lab, sender: str) -> None:
    for receiver in [kind for kind in KINDS if is_tried(sender, kind)] * RUNS:
        listener = lab.receivers[receiver]
        if is_hopeless(sender, receiver):
            assert lab.connect(sender, receiver, "any") is PathKind.RELAY
            continue
        before = listener.statistics().introductions
        assert lab.connect(sender, receiver, "direct") is PathKind.DIRECT
        if not SYMMETRIC & {sender, receiver}:
            assert listener.statistics().introductions == before + 1, f"from {sender}"


async def _connect(uid: str, broker: Broker, path: str) -> PathKind:
    attempts: list[Attempt] = []
    with trio.fail_after(PATIENCE):
        async with open_p2p_stream(uid, broker, path=path, on_attempt=attempts.append) as stream:
            await stream.send_all(GREETING)
            received = b""
            while len(received) < len(GREETING):
                received += await stream.receive_some()
            assert received == GREETING
            assert stream.path is not None
            connected = [
                (each.technique, each.local, each.remote)
                for each in attempts
                if each.outcome is Outcome.CONNECTED
            ]
            assert (stream.path.technique, stream.path.local, stream.path.remote) in connected
            return stream.path.kind


async def _echo(stream: P2PStream) -> None:
    async for data in stream:
        await stream.send_all(data)
