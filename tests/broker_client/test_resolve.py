"""The broker is looked for: in time, and not from a network that the host has left."""

import errno
import socket

import pytest
import trio

from trio_p2p._broker_client import resolve as broker_search
from trio_p2p._broker_client.resolve import BrokerFinder
from trio_p2p._errors import BrokerUnreachableError
from trio_p2p._net.os_errors import refused_error
from trio_p2p._net.system import system_in_use

from ..kit.faulty_system import Fault, FaultySystem
from ..kit.lab import KernelNetwork, Nat, Site
from ..kit.loopback import held, nobody_listening, open_broker
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
            await BrokerFinder(str(REMOTE.address), REMOTE.port).find(())

    waiting = start_waiting(site, find)
    move(site, last=7)
    waiting.result(PATIENCE)
    assert attempts > 1


async def test_host_that_moves_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def move_at_once(scope: trio.CancelScope, _network: object) -> None:
        await trio.lowlevel.checkpoint()
        scope.cancel(reason="the test says so")

    monkeypatch.setattr(broker_search, "cancel_when_network_changes", move_at_once)
    monkeypatch.setattr(broker_search, "wait_connected", hear_nothing)
    before = held()
    with (
        nobody_listening() as address,
        trio.fail_after(PATIENCE),
        pytest.raises(BrokerUnreachableError, match="changed networks 5 times"),
    ):
        await BrokerFinder(*address).find(())
    assert held() == before


async def test_broker_that_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    before = held()
    monkeypatch.setattr(broker_search, "wait_connected", hear_nothing)
    monkeypatch.setattr(broker_search, "CONNECT_TIME", 0.05)
    unreachable = pytest.raises(BrokerUnreachableError, match="timed out")
    with nobody_listening() as address, unreachable:
        await BrokerFinder(*address).find(())
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
            await trio.aclose_forcefully(await BrokerFinder(*broker.address).find(()))


async def test_shortage_is_not_blamed_on_the_broker() -> None:
    before = held()
    system = FaultySystem(Fault("bind", None, errno.EADDRINUSE))
    with (
        system_in_use(system),
        nobody_listening() as address,
        pytest.raises(BrokerUnreachableError, match="this host cannot connect") as caught,
    ):
        await BrokerFinder(*address).find(())
    assert "no local port is free" in str(caught.value)
    assert held() == before
