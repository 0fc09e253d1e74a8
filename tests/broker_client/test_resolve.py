"""The broker is looked for: in time, and not from a network that the host has left."""

import socket

import pytest
import trio

from trio_p2p._broker_client import resolve as broker_search
from trio_p2p._broker_client.resolve import find_broker
from trio_p2p._errors import BrokerUnreachableError

from ..kit.lab import KernelNetwork, Nat, Site
from ..kit.loopback import held, nobody_listening
from ..kit.moving_site import PATIENCE, REMOTE, move, start_waiting


async def hear_nothing(_: socket.socket) -> None:
    await trio.sleep_forever()


def test_broker_is_not_waited_for_in_another_network(
    kernel_network: KernelNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_search, "wait_connected", hear_nothing)
    site = kernel_network.add_site(Nat())

    async def find(_site: Site) -> None:
        with pytest.raises(BrokerUnreachableError, match="changed networks"):
            await find_broker((str(REMOTE.address), REMOTE.port), ())

    waiting = start_waiting(site, find)
    move(site, last=7)
    waiting.result(PATIENCE)


async def test_broker_that_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    before = held()
    monkeypatch.setattr(broker_search, "wait_connected", hear_nothing)
    monkeypatch.setattr(broker_search, "CONNECT_TIME", 0.05)
    unreachable = pytest.raises(BrokerUnreachableError, match="timed out")
    with nobody_listening() as address, unreachable:
        await find_broker(address, ())
    assert held() == before
