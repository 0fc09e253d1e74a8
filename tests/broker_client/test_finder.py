"""The broker is looked for: in time, and not from a network that the host has left."""

import errno
import logging
import socket
from ipaddress import ip_address

import pytest
import trio

from trio_p2p._addresses import Endpoint, Vantage
from trio_p2p._broker_client import finder, resolve as broker_search
from trio_p2p._broker_client.finder import BrokerFinder
from trio_p2p._broker_client.place import BrokerPlace, parse_broker_place
from trio_p2p._broker_client.tls import BrokerTLS
from trio_p2p._errors import BrokerUnreachableError
from trio_p2p._net.os_errors import refused_error
from trio_p2p._net.system import system_in_use

from ..kit.faulty_system import Fault, FaultySystem
from ..kit.lab import KernelNetwork, Nat, Site
from ..kit.loopback import finder_of, held, nobody_listening, open_broker
from ..kit.moving_site import PATIENCE, REMOTE, move, start_waiting


async def hear_nothing(_: socket.socket) -> None:
    await trio.sleep_forever()


def test_broker_is_looked_for_again_from_another_network(
    kernel_network: KernelNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0

    async def hear_nothing_at_first(_: socket.socket) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await trio.sleep_forever()
        raise refused_error()

    monkeypatch.setattr(broker_search, "wait_connected", hear_nothing_at_first)
    site = kernel_network.add_site(Nat())

    async def find(_site: Site) -> None:
        with pytest.raises(BrokerUnreachableError, match="no broker answers"):
            await finder_of(str(REMOTE.address), REMOTE.port).find(())

    waiting = start_waiting(site, find)
    move(site, last=7)
    waiting.result(PATIENCE)
    assert attempts > 1


async def test_host_that_moves_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def move_at_once(scope: trio.CancelScope, _network: object) -> None:
        await trio.lowlevel.checkpoint()
        scope.cancel(reason="the test says so")

    monkeypatch.setattr(finder, "cancel_when_network_changes", move_at_once)
    monkeypatch.setattr(broker_search, "wait_connected", hear_nothing)
    before = held()
    with (
        nobody_listening() as address,
        trio.fail_after(PATIENCE),
        pytest.raises(BrokerUnreachableError, match="changed networks 5 times"),
    ):
        await finder_of(*address).find(())
    assert held() == before


async def test_broker_that_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    before = held()
    monkeypatch.setattr(broker_search, "wait_connected", hear_nothing)
    monkeypatch.setattr(broker_search, "CONNECT_TIME", 0.05)
    unreachable = pytest.raises(BrokerUnreachableError, match="timed out")
    with nobody_listening() as address, unreachable:
        await finder_of(*address).find(())
    assert held() == before


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("open_socket", errno.EMFILE),
        ("bind", errno.EADDRINUSE),
        ("start_connecting", errno.EADDRNOTAVAIL),
        ("getsockname", errno.ENOBUFS),
    ],
)
async def test_shortage_that_passes(call: str, number: int) -> None:
    async with open_broker() as broker:
        with system_in_use(FaultySystem(Fault(call, 0, number), Fault(call, 1, number))):
            await trio.aclose_forcefully(await finder_of(*broker.address).find(()))


async def test_shortage_is_not_blamed_on_the_broker() -> None:
    before = held()
    system = FaultySystem(Fault("bind", None, errno.EADDRINUSE))
    with (
        system_in_use(system),
        nobody_listening() as address,
        pytest.raises(BrokerUnreachableError, match="this host cannot connect") as caught,
    ):
        await finder_of(*address).find(())
    assert "no local port is free" in str(caught.value)
    assert held() == before


# Where a broker sends its clients.

HERE = ip_address("127.0.0.1")
REMOTE_BROKER = Endpoint(HERE, 4433)


def moved_to(finder: BrokerFinder, *names: str) -> list[str]:
    """Where a broker may send its clients, of all that it has named."""
    is_any = finder.move_to_untrusted(names, REMOTE_BROKER, Vantage(HERE, HERE, HERE))
    moved = [each.place.host for each in finder._moved_to.get(4, ())]
    assert is_any is bool(moved)
    return moved


def test_what_is_no_broker_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_p2p.broker_client")
    finder = finder_of("127.0.0.1", 4433)
    assert moved_to(finder, "nothing", "a:1") == ["a"]
    assert "'nothing' is no broker" in caplog.text
    assert moved_to(finder_of("127.0.0.1", 4433), "nothing", "tls://a:1#pin") == []


async def test_broker_with_tls_cannot_have_its_clients_go_on_without() -> None:
    async with trio.open_nursery() as nursery:
        place = parse_broker_place("tls://127.0.0.1:4433")
        finder = BrokerFinder([place], tls_for=lambda place: BrokerTLS(place, nursery))
        assert moved_to(finder, "127.0.0.1:4434", "tls://b:1", "c:1") == ["b"]


async def test_spare_broker_is_known_from_one_that_was_named() -> None:
    async with open_broker() as first, open_broker() as second, open_broker() as other:
        finder = BrokerFinder([BrokerPlace(*first.address), BrokerPlace(*second.address)])
        await first.kill()
        connection = await finder.find(())
        assert finder.is_spare(connection.remote)
        connection.close()
        remote = connection.remote
        vantage = Vantage(HERE, HERE, HERE)
        assert finder.move_to_untrusted([f"localhost:{other.port}"], remote, vantage)
        connection = await finder.find(())
        assert connection.remote.port == other.port
        assert finder.is_spare(connection.remote)
        connection.close()
        # When it is gone, it is not looked for any more, and is not missed.
        await other.kill()
        connection = await finder.find(())
        assert connection.remote == remote
        assert finder._moved_to == {}
        connection.close()


async def test_broker_cannot_have_its_clients_connect_to_any_address() -> None:
    async with open_broker() as broker, open_broker() as other:
        finder = finder_of(*broker.address)
        outside = ip_address("203.0.113.5")
        vantage = Vantage(ip_address("10.0.0.2"), outside, ip_address("198.51.100.7"))
        remote = Endpoint(HERE, broker.port)
        assert finder.move_to_untrusted([f"localhost:{other.port}"], remote, vantage)
        connection = await finder.find(())
        assert connection.remote.port == broker.port
        connection.close()
        assert finder.move_to_untrusted([f"127.0.0.1:{other.port}"], remote, vantage)
        connection = await finder.find((), 4)
        assert connection.remote.port == broker.port
        connection.close()
