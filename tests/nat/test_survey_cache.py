"""What is remembered of surveys, for how many networks, and for how long."""

from ipaddress import IPv4Address

import pytest
import trio
from trio.testing import MockClock

from trio_p2p import Endpoint
from trio_p2p._addresses import endpoint_of
from trio_p2p._nat import survey_cache
from trio_p2p._nat.survey_cache import SurveyCache
from trio_p2p._wire.offer import Allocation, Behaviour, Nat

from ..kit.loopback import HOST, nobody_listening
from ..kit.loopback_probes import ANOTHER_ADDRESS, open_probed_broker
from ..kit.surveys import NO_NAT

HERE = IPv4Address(HOST)


class Counted:
    """Stands for a survey; finds something else each time."""

    def __init__(self) -> None:
        self.count = 0
        self.allocation: Allocation | None = Allocation.PRESERVING

    async def survey_nat(self, *_arguments: object, asks_filtering: bool) -> Nat:
        await trio.sleep(1)
        self.count += 1
        filtering = Behaviour.ADDRESS_DEPENDENT if asks_filtering else None
        return Nat(Behaviour.ADDRESS_DEPENDENT, filtering, self.allocation, step=self.count)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(survey_cache, "survey_nat", counted.survey_nat)
    return counted


BROKER = Endpoint(IPv4Address("198.51.100.10"), 4433)


async def ask(
    cache: SurveyCache,
    local: str = "192.168.1.2",
    seen: str = "203.0.113.1",
    *,
    asks_filtering: bool = True,
) -> int:
    nat = await cache.nat(
        BROKER,
        (),
        local=IPv4Address(local),
        reflexive=IPv4Address(seen),
        asks_filtering=asks_filtering,
    )
    return nat.step


async def test_each_network_is_surveyed_once(counted: Counted, autojump_clock: MockClock) -> None:
    cache = SurveyCache()
    assert [await ask(cache) for _ in range(3)] == [1, 1, 1]
    assert await ask(cache, local="192.168.1.3") == 2
    assert await ask(cache, seen="203.0.113.2") == 3
    assert await ask(cache) == 1
    await trio.sleep(survey_cache.LIFETIME)
    assert await ask(cache) == 4


async def test_filtering_is_found_out_when_somebody_asks(
    counted: Counted, autojump_clock: MockClock
) -> None:
    cache = SurveyCache()
    assert [await ask(cache, asks_filtering=False) for _ in range(2)] == [1, 1]
    assert [await ask(cache) for _ in range(2)] == [2, 2]
    assert await ask(cache, asks_filtering=False) == 2


async def test_who_asks_meanwhile_waits(counted: Counted, autojump_clock: MockClock) -> None:
    cache = SurveyCache()
    answers: list[int] = []

    async def note() -> None:
        answers.append(await ask(cache))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(note)
        with trio.move_on_after(0.5):  # whoever began gives up; another one takes over
            await ask(cache)
    assert answers == [1] * 5


async def test_so_many_networks_are_remembered(counted: Counted, autojump_clock: MockClock) -> None:
    cache = SurveyCache()
    for number in range(survey_cache.MAX_NETWORKS + 1):
        await ask(cache, local=f"192.168.1.{number}")
    assert await ask(cache, local="192.168.1.1") == 2
    assert await ask(cache, local="192.168.1.0") == survey_cache.MAX_NETWORKS + 2


async def test_nothing_found_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SurveyCache()
    with nobody_listening() as address:
        endpoint = endpoint_of(address)
        for _ in range(2):
            nat = await cache.nat(endpoint, [endpoint], local=HERE, reflexive=HERE)
            assert nat == Nat()
    async with open_probed_broker(ANOTHER_ADDRESS) as broker:
        nat = await cache.nat(broker.endpoint, broker.probes, local=HERE, reflexive=HERE)
        assert nat == NO_NAT


async def test_part_is_remembered_for_a_short_time_only(
    counted: Counted, autojump_clock: MockClock
) -> None:
    cache = SurveyCache()
    counted.allocation = None
    assert [await ask(cache) for _ in range(2)] == [1, 1]
    await trio.sleep(survey_cache.PARTIAL_LIFETIME)
    counted.allocation = Allocation.PRESERVING
    assert await ask(cache) == 2
    await trio.sleep(survey_cache.PARTIAL_LIFETIME)
    assert await ask(cache) == 2
