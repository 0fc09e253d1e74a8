"""Events of a memory network, and what becomes of streams meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from trio_p2p import P2PListener, P2PStream, PathKind
from trio_p2p.testing import (
    Event,
    ForgetMappings,
    LosePath,
    MemoryBroker,
    MemoryHost,
    MemoryNetwork,
    MoveHost,
    RestartBroker,
    RestorePath,
    play,
)

DEADLINE = 300.0  # seconds of simulated time


class Scene:
    """Two peers with a stream between them that has a direct path."""

    def __init__(
        self,
        network: MemoryNetwork,
        broker: MemoryBroker,
        hosts: tuple[MemoryHost, MemoryHost],
        streams: tuple[P2PStream, P2PStream],
        listener: P2PListener[P2PStream],
    ) -> None:
        self.network = network
        self.broker = broker
        self.here, self.there = hosts
        self.opened, self.accepted = streams
        self.listener = listener

    async def check_alive(self) -> None:
        """Send something each way."""
        for one, other in ((self.opened, self.accepted), (self.accepted, self.opened)):
            await one.send_all(b"still there?")
            assert bytes(await other.receive_some()) == b"still there?"

    async def wait_path(self, kind: PathKind | None) -> None:
        path = self.opened.path
        while (path and path.kind) is not kind:
            path = await self.opened.wait_path_changed(path)


@pytest.fixture
async def scene(memory_network: MemoryNetwork) -> AsyncGenerator[Scene]:
    async with _scene(memory_network) as scene:
        yield scene


@asynccontextmanager
async def _scene(network: MemoryNetwork) -> AsyncGenerator[Scene]:
    broker = await network.start_broker()
    here, there = network.add_host("eim-apdf", name="here"), network.add_host("masquerade")
    async with (
        there.open_peer(broker.address) as receiver,
        here.open_peer(broker.address) as sender,
        receiver.listen("there") as listener,
    ):
        opened = await sender.open_stream("there")
        scene = Scene(network, broker, (here, there), (opened, await listener.accept()), listener)
        with trio.fail_after(DEADLINE):
            await scene.wait_path(PathKind.DIRECT)
            await scene.check_alive()
            yield scene


async def test_a_lost_path_is_given_up_for_the_relay(
    scene: Scene, autojump_clock: MockClock
) -> None:
    await play(scene.network, [(1.0, LosePath(scene.here, scene.there))])
    await scene.opened.send_all(b"on its way")
    await scene.wait_path(PathKind.RELAY)
    assert bytes(await scene.accepted.receive_some()) == b"on its way"
    await play(scene.network, [(0.0, RestorePath(scene.here, scene.there))])
    await scene.wait_path(PathKind.DIRECT)
    await scene.check_alive()


@pytest.mark.parametrize("nats", [(), ("random",), ("eim-apdf", "masquerade-rst")])
@pytest.mark.parametrize("is_sender", [False, True])
async def test_a_host_that_moves_keeps_its_streams(
    nats: tuple[str, ...], is_sender: bool, scene: Scene, autojump_clock: MockClock
) -> None:
    host = scene.here if is_sender else scene.there
    before = host.address
    await play(scene.network, [(1.0, MoveHost(host, nats))])
    assert host.address != before
    assert len(host.nats) == len(nats)
    await scene.check_alive()


async def test_a_host_that_was_in_no_network_comes_back(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.here.disconnect()
    await scene.wait_path(None)
    await trio.sleep(10.0)
    scene.here.move("eim-apdf")
    await scene.check_alive()


async def test_a_broker_that_is_restarted_knows_its_receivers_again(
    scene: Scene, autojump_clock: MockClock
) -> None:
    await play(scene.network, [(1.0, RestartBroker(scene.broker, seconds=3.0))])
    await scene.check_alive()
    third = scene.network.add_host("sequential")
    async with (
        third.open_peer(scene.broker.address) as peer,
        await peer.open_stream("there", wait=True) as stream,
        await scene.listener.accept() as accepted,
    ):
        await stream.send_all(b"hello")
        assert bytes(await accepted.receive_some()) == b"hello"


async def test_nats_that_forget_cost_no_stream(scene: Scene, autojump_clock: MockClock) -> None:
    script: list[tuple[float, Event]] = [
        (2.0, ForgetMappings(scene.there)),
        (1.0, ForgetMappings(scene.here)),
    ]
    await play(scene.network, script)
    await scene.check_alive()


async def test_events_happen_at_their_time_and_in_order(
    memory_network: MemoryNetwork, autojump_clock: MockClock
) -> None:
    happened: list[tuple[str, float]] = []

    class Note:
        def __init__(self, name: str, seconds: float = 0.0) -> None:
            self._name = name
            self._seconds = seconds

        async def happen(self, network: MemoryNetwork) -> None:
            assert network is memory_network
            happened.append((self._name, trio.current_time()))
            await trio.sleep(self._seconds)

    await play(memory_network, [(2.0, Note("c")), (1.0, Note("a", 5.0)), (2.0, Note("d"))])
    assert [name for name, _ in happened[:1]] == ["a"]
    assert {name for name, _ in happened[1:]} == {"c", "d"}
    assert [time for _, time in happened] == pytest.approx([1.0, 2.0, 2.0])
    assert trio.current_time() == pytest.approx(6.0)
