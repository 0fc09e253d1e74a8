"""Behind simulated NATs peers connect as ``docs/concepts.rst`` says: directly, or by the relay."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_p2p import PathKind
from trio_p2p.testing import NATS, NatBehaviour, open_memory_network

from .test_network import echo

SYMMETRIC = {"sequential", "sequential-rst", "random", "random-rst"}
AT_RANDOM = {"random", "random-rst"}
PATIENCE = 120.0  # seconds of simulated time


@pytest.fixture(autouse=True)
def _guess_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._control.guesses.GUESSING_INTERVAL", 0.0)


def expected(one: str, other: str) -> PathKind:
    both = {one, other}
    is_hopeless = both <= SYMMETRIC and both & AT_RANDOM
    return PathKind.RELAY if is_hopeless else PathKind.DIRECT


async def final_path(
    receiver: str | NatBehaviour, sender: str | NatBehaviour, *shared: NatBehaviour
) -> PathKind:
    """What carries a stream between peers behind two NATs as soon as it is direct, or finally."""
    async with open_memory_network() as network:
        broker = await network.start_broker()
        outer = [network.add_nat(*shared)] if shared else []
        hosts = [network.add_host(nat, *outer) for nat in (receiver, sender)]
        async with (
            hosts[0].open_peer(broker.address) as one,
            hosts[1].open_peer(broker.address) as other,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(one.serve, "echo", echo)
            stream = await other.open_stream("echo")
            path = stream.path
            with trio.move_on_after(PATIENCE):
                while path is None or path.kind is not PathKind.DIRECT:
                    path = await stream.wait_path_changed(path)
            assert path is not None
            await stream.send_all(b"hello")
            assert bytes(await stream.receive_some()) == b"hello"
            nursery.cancel_scope.cancel(reason="it is known")
    return path.kind


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("receiver", NATS)
async def test_every_pair_connects(receiver: str, autojump_clock: MockClock) -> None:
    for sender in NATS:
        assert await final_path(receiver, sender) is expected(receiver, sender), sender


@pytest.mark.parametrize(
    ("receiver", "sender"),
    [
        ("public", "random"),
        ("masquerade", "eim-apdf-rst"),
        ("sequential", "eim-apdf"),
        ("sequential-rst", "sequential"),
        ("random", "random"),
    ],
)
async def test_typical_pairs_connect(receiver: str, sender: str, autojump_clock: MockClock) -> None:
    assert await final_path(receiver, sender) is expected(receiver, sender)


@pytest.mark.parametrize("hairpins", [False, True])
async def test_neighbours_meet_where_their_carrier_hairpins(
    hairpins: bool, autojump_clock: MockClock
) -> None:
    carrier = NatBehaviour(hairpins=hairpins)
    kind = await final_path("eim-apdf", "eim-apdf", carrier)
    assert kind is (PathKind.DIRECT if hairpins else PathKind.RELAY)


async def test_two_at_home_meet_there(autojump_clock: MockClock) -> None:
    async with open_memory_network() as network:
        broker = await network.start_broker()
        home = network.add_nat("random")
        hosts = [network.add_host(home) for _ in range(2)]
        async with (
            hosts[0].open_peer(broker.address) as one,
            hosts[1].open_peer(broker.address) as other,
            one.listen("home"),
        ):
            connection = await other.connect("home", path="direct")
            assert connection.path is not None
            assert connection.path.remote.address == hosts[0].address
