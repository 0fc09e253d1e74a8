"""Networks in memory: who is where, and what runs on which host."""

from __future__ import annotations

import inspect
import socket
from functools import partial

import pytest
import trio
from trio.testing import MockClock

import trio_p2p
from trio_p2p import BrokerUnreachableError, Endpoint, P2PListener, P2PStream, Peer, UnknownUIDError
from trio_p2p._net.system import current_system
from trio_p2p.testing import (
    MemoryHost,
    MemoryNetwork,
    NatBehaviour,
    RestartBroker,
    open_memory_network,
    play,
)
from trio_p2p.testing._on_host import HostPeer


async def echo(stream: P2PStream) -> None:
    async for piece in stream:
        await stream.send_all(piece)
    await stream.send_eof()


async def ask(stream: P2PStream, question: bytes) -> bytes:
    await stream.send_all(question)
    await stream.send_eof()
    answer = b""
    async for piece in stream:
        answer += piece
    return answer


async def test_peers_talk(memory_network: MemoryNetwork, autojump_clock: MockClock) -> None:
    broker = await memory_network.start_broker()
    here, there = memory_network.add_host(), memory_network.add_host("eim-apdf")
    async with (
        there.open_peer(broker.address) as receiver,
        here.open_peer(broker.address) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(receiver.serve, "echo", echo)
        assert isinstance(sender, Peer)
        async with await sender.open_stream("echo") as stream:
            assert await ask(stream, b"hello") == b"hello"
            assert stream.peer_id == receiver.peer_id
        with pytest.raises(UnknownUIDError):
            await sender.open_stream("nobody")
        nursery.cancel_scope.cancel(reason="all is asked")


async def test_programs_run_on_hosts_unchanged(
    memory_network: MemoryNetwork, autojump_clock: MockClock
) -> None:
    broker = await memory_network.start_broker(name="broker.example")
    address = f"broker.example:{broker.address.rpartition(':')[2]}"

    async def serve(*, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
        await trio_p2p.serve_p2p(echo, "echo", address, task_status=task_status)

    async def call() -> bytes:
        async with trio_p2p.open_p2p_stream("echo", address) as stream:
            return await ask(stream, b"from a program")

    there, here = memory_network.add_host("random"), memory_network.add_host("eim-eif")
    async with trio.open_nursery() as nursery:
        with there.in_use():
            await nursery.start(serve)
        assert await here.run(call) == b"from a program"
        nursery.cancel_scope.cancel(reason="all is asked")


async def test_what_is_on_no_host_has_no_network(
    memory_network: MemoryNetwork, autojump_clock: MockClock
) -> None:
    broker = await memory_network.start_broker()
    with pytest.raises(RuntimeError, match=r"on none of its hosts.*MemoryHost\.open_peer"):
        async with trio_p2p.open_peer(broker.address):
            pass
    with pytest.raises(RuntimeError, match="on none of its hosts"):
        await trio_p2p.serve_broker(0)
    system = current_system()
    for refused in (
        partial(system.open_socket, socket.AF_INET, socket.SOCK_STREAM),
        partial(system.find_route, Endpoint("1.1.1.1", 443)),
        system.open_pair,
    ):
        with pytest.raises(RuntimeError, match="on none of its hosts"):
            refused()
    with pytest.raises(RuntimeError, match="on none of its hosts"):
        await system.open_listeners(0, None, 10)


def test_every_method_of_a_peer_that_waits_runs_on_its_host() -> None:
    for name, method in vars(Peer).items():
        waits = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(
            inspect.unwrap(method) if callable(method) else None
        )
        if waits and name != "leave":
            assert name in vars(HostPeer), name


async def test_peers_have_raw_streams_and_watches_and_surveys(
    memory_network: MemoryNetwork, autojump_clock: MockClock
) -> None:
    broker = await memory_network.start_broker()
    here, there = memory_network.add_host("sequential"), memory_network.add_host()
    async with (
        there.open_peer(broker.address) as receiver,
        here.open_peer(broker.address) as sender,
        sender.watch("raw") as registrations,
        receiver.listen_raw("raw") as listener,
    ):
        await registrations.wait()
        async with await sender.open_raw_stream("raw") as opened, await listener.accept() as other:
            await opened.send_all(b"bare")
            assert await other.receive_some() == b"bare"
        survey = await sender.survey()
        assert survey.reflexive == here.public_address
        assert survey.nat.step == 1


async def test_hosts_are_where_they_were_put() -> None:
    async with open_memory_network() as network:
        carrier = network.add_nat("eim-eif")
        home = network.add_nat(NatBehaviour(hairpins=True), carrier)
        one, other = network.add_host(home), network.add_host("random", home, name="other")
        public = network.add_host(None, addresses=2)
        assert (one.name, other.name, public.name) == ("host-1", "other", "host-3")
        assert "host-1" in repr(one)
        assert one.nats == (home, carrier)
        assert [nat.behind for nat in other.nats] == [home, carrier, None]
        assert one.public_address == other.public_address == carrier.address
        assert public.address == public.public_address
        assert len(set(public.addresses)) == 2
        assert not public.nats


async def test_mistakes_are_told() -> None:
    async with open_memory_network() as network:
        host = network.add_host(name="mine")
        with pytest.raises(ValueError, match="another name"):
            network.add_host(name="mine")
        with pytest.raises(ValueError, match=r"no NAT is called 'cone': use one of public, "):
            network.add_host("cone")
        with pytest.raises(ValueError, match="no NAT is given"):
            network.add_nat("public")
        with pytest.raises(ValueError, match="can only be the last one"):
            network.add_host(network.add_nat("random"), "random")
        other = network.add_host()
        with pytest.raises(ValueError, match="give a number from 0 to 1"):
            network.set_loss(host, other, 1.5)
        with pytest.raises(ValueError, match="a round trip cannot be 0: give seconds, more than 0"):
            network.set_round_trip(host, other, 0)
        with pytest.raises(ValueError, match="jitter cannot be -1: give seconds, 0 or more"):
            network.set_jitter(host, other, -1)
        with pytest.raises(ValueError, match="latency cannot be nan"):
            async with open_memory_network(latency=float("nan")):
                pass
        with pytest.raises(ValueError, match="no path"):
            network.lose_path(host, host)
        host.disconnect()
        host.disconnect()
        with pytest.raises(RuntimeError, match="in no network: move it into one"):
            host.address  # noqa: B018 - it is asked for
        host.move()
        assert host.address == host.public_address


async def test_what_is_opened_on_hosts_is_used_and_closed_from_anywhere(
    memory_network: MemoryNetwork, autojump_clock: MockClock
) -> None:
    broker = await memory_network.start_broker()
    async with (
        memory_network.add_host("random").open_peer(broker.address) as receiver,
        memory_network.add_host("eim-apdf").open_peer(broker.address) as sender,
        trio.open_nursery() as nursery,
    ):
        listener: P2PListener[P2PStream] = await nursery.start(receiver.serve, "echo", echo)
        connection = await sender.connect("echo", accept=True)
        stream = await connection.open_stream()
        nursery.start_soon(connection.serve, echo)
        assert await ask(stream, b"there") == b"there"
        accepted = stream.connection
        await stream.aclose()
        assert accepted is connection
        with trio.fail_after(60):
            await listener.drain()
        await connection.aclose()
        assert connection.is_over


@pytest.mark.parametrize("moment", [n / 20 for n in range(20)])
async def test_a_network_can_be_left_at_any_time(moment: float, autojump_clock: MockClock) -> None:
    with trio.move_on_after(moment) as scope:
        async with open_memory_network() as network:
            broker = await network.start_broker()
            async with (
                network.add_host("random").open_peer(broker.address) as receiver,
                network.add_host("eim-apdf").open_peer(broker.address) as sender,
                trio.open_nursery() as nursery,
            ):
                await nursery.start(receiver.serve, "echo", echo)
                nursery.start_soon(play, network, [(0.4, RestartBroker(broker))])
                async with await sender.open_stream("echo") as stream:
                    await ask(stream, bytes(100_000))
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() <= moment + 1.0  # port mappings are given back for so long


async def test_a_broker_that_is_stopped_is_gone(
    memory_network: MemoryNetwork, autojump_clock: MockClock
) -> None:
    broker = await memory_network.start_broker(relay=None)
    host = memory_network.add_host("masquerade")
    await broker.start()  # it runs already
    await broker.stop()
    async with host.open_peer(broker.address) as peer:
        with pytest.raises(BrokerUnreachableError):
            await peer.open_stream("nobody")
        await broker.start()
        with pytest.raises(UnknownUIDError):
            await peer.open_stream("nobody")


async def round_trip(network: MemoryNetwork, one: MemoryHost, other: MemoryHost) -> float:
    """How long it takes until a host tells another one that nothing listens there."""
    begun = trio.current_time()

    async def dial() -> None:
        with pytest.raises(BrokerUnreachableError):
            async with trio_p2p.open_peer((str(other.public_address), 9)) as peer:
                await peer.connect("nobody")

    await one.run(dial)
    return trio.current_time() - begun


async def test_packets_take_their_time(autojump_clock: MockClock) -> None:
    async with open_memory_network(latency=0.025) as network:
        one, other, third = (network.add_host() for _ in range(3))
        assert await round_trip(network, one, other) == pytest.approx(0.1)
        network.set_round_trip(one, other, 1.0)
        assert await round_trip(network, one, other) == pytest.approx(1.0)
        assert await round_trip(network, third, other) == pytest.approx(0.1)
        network.set_jitter(one, other, 0.5)
        assert 1.0 <= await round_trip(network, one, other) <= 2.0
        network.set_loss(one, other, 1.0)
        assert await round_trip(network, one, other) > 3.0


async def test_packets_are_told_of(autojump_clock: MockClock) -> None:
    seen: list[str] = []
    async with open_memory_network(on_packet=lambda each: seen.append(str(each))) as network:
        one, other = network.add_host("eim-apdf"), network.add_host()
        await round_trip(network, one, other)
        await round_trip(network, one, network.add_host("eim-apdf-icmp"))
    assert seen[0].split()[1:3] == ["host-1", "sends"]
    assert seen[0].endswith(f"{other.address}:9 SYN 0")
    assert any(" host-2 takes " in each and each.endswith("SYN 0") for each in seen)
    assert any(" host-1 takes " in each and each.endswith("RST ACK 0") for each in seen)
    assert seen[-1].endswith("ICMP 0")
