"""What a receiver tells the broker of itself, and when it looks again."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trio_p2p._addresses import Endpoint
from trio_p2p._control import reachability as module
from trio_p2p._control.reachability import MAX_MAPPING_PAUSE, MIN_MAPPING_PAUSE, Reachability
from trio_p2p._portmap.attempts import (
    MappingFailedError,
    MappingOutcome,
    MappingProtocol,
    PortMappingError,
)
from trio_p2p._wire.messages import Update
from trio_p2p._wire.offer import Allocation, Behaviour, Nat

HERE = Endpoint(IPv4Address("192.168.1.2"), 5000)
MAPPED = Endpoint(IPv4Address("203.0.113.1"), 5000)
COMPLETE = Nat(
    Behaviour.ENDPOINT_INDEPENDENT, Behaviour.ENDPOINT_INDEPENDENT, Allocation.PRESERVING
)


class Connection:
    """Stands for the registration's connection; notes what is sent."""

    def __init__(self) -> None:
        self.local = HERE
        self.probes = (Endpoint(IPv4Address("198.51.100.10"), 4434),)
        self.sent: list[Update] = []

    async def send(self, message: Update) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)


class Network:
    """Stands for what is known of the network; each look finds the next of some NATs."""

    def __init__(self, *nats: Nat) -> None:
        self.nat = Nat()
        self.looked_at: list[float] = []
        self._nats = list(nats)

    @property
    def is_surveyed(self) -> bool:
        return self.nat == COMPLETE

    async def learn(self, _connection: Connection, *, asks_filtering: bool) -> None:
        assert asks_filtering
        await trio.lowlevel.checkpoint()
        self.looked_at.append(trio.current_time())
        self.nat = self._nats.pop(0)


@attrs.define
class Router:
    """Stands for a router that refuses a few times."""

    refusals: int
    asked_at: list[float] = attrs.field(factory=list)

    @asynccontextmanager
    async def open_port_mapping(self, *_: object, **__: object) -> AsyncGenerator[Any]:
        self.asked_at.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if len(self.asked_at) <= self.refusals:
            failure = MappingFailedError(MappingProtocol.PCP, MappingOutcome.REFUSED)
            raise PortMappingError([failure])
        yield self

    @property
    def external(self) -> Endpoint:
        return MAPPED

    async def wait_changed(self, _known: Endpoint | None) -> None:
        await trio.sleep_forever()


async def find_out(monkeypatch: pytest.MonkeyPatch, network: Network, router: Router) -> Connection:
    monkeypatch.setattr(module, "open_port_mapping", router.open_port_mapping)
    connection, stand_ins = Connection(), list[Any]()
    stand_ins += connection, network
    reachability = Reachability(stand_ins[0], MAPPED, stand_ins[1], port_guessing=False)
    with trio.move_on_after(24 * 3600):
        await reachability.run()
    return connection


async def test_router_that_refused_is_asked_again(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = Router(refusals=3)
    connection = await find_out(monkeypatch, Network(COMPLETE), router)
    asked_at = router.asked_at
    assert len(asked_at) == 4
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert MIN_MAPPING_PAUSE / 2 <= pauses[0] < pauses[2] <= 1.5 * MAX_MAPPING_PAUSE
    assert [candidate.endpoint for candidate in connection.sent[-1].offer.candidates] != []


async def test_survey_in_which_something_did_not_answer_is_repeated(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = Nat(Behaviour.ENDPOINT_INDEPENDENT)
    network = Network(partial, partial, COMPLETE)
    connection = await find_out(monkeypatch, network, Router(refusals=0))
    assert len(network.looked_at) == 3
    assert connection.sent[-1].offer.nat == COMPLETE


async def test_what_goes_wrong_ends_the_search_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = Network()  # which cannot be looked at: an IndexError
    await find_out(monkeypatch, network, Router(refusals=0))
    assert "finding out how this host can be reached failed" in caplog.text
