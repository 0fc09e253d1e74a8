"""Surveys of NATs over loopback, where there is none: what they need, and what they hold."""

from functools import partial
from typing import Any

import attrs
import pytest
import trio

from trio_p2p._addresses import endpoint_of
from trio_p2p._broker import clients
from trio_p2p._broker.callback_probes import call_back
from trio_p2p._broker.prober import CALLS_PER_WINDOW
from trio_p2p._nat import survey
from trio_p2p._nat.survey import Sightings, survey_nat
from trio_p2p._wire.messages import CalledBack
from trio_p2p._wire.offer import Nat

from ..kit.loopback import HOST, held, nobody_listening, until
from ..kit.loopback_probes import ANOTHER_ADDRESS, open_probed_broker
from ..kit.surveys import NO_NAT


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_no_nat(host: str) -> None:
    before = held()
    async with open_probed_broker(ANOTHER_ADDRESS, host=host) as broker:
        assert await survey_nat(broker.endpoint, broker.probes) == NO_NAT
    assert held() == before


async def test_number_and_order_of_connections() -> None:
    async with open_probed_broker(ANOTHER_ADDRESS) as broker:
        sightings = Sightings()
        await sightings.look(broker.endpoint, broker.probes)
        in_order = sorted(sightings.samples, key=lambda sample: sample.order)
        own = broker.endpoint
        assert [sample.remote for sample in in_order] == [own, *broker.probes, own, own]
        ports = [sample.local.port for sample in in_order]
        assert ports[0] == ports[1]
        assert len(set(ports)) == 3


async def test_broker_without_probes_is_left_alone() -> None:
    with nobody_listening() as address:
        assert await survey_nat(endpoint_of(address), ()) == Nat()


async def test_nobody_answers() -> None:
    before = held()
    with nobody_listening() as address:
        endpoint = endpoint_of(address)
        assert await survey_nat(endpoint, [endpoint]) == Nat()
    assert held() == before


async def test_what_does_not_answer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "SURVEY_TIME", 0.3)
    async with open_probed_broker(ANOTHER_ADDRESS) as broker:
        (silent,) = await trio.open_tcp_listeners(0, host=HOST)  # it accepts, but says nothing
        async with silent:
            sightings = Sightings()
            remote = endpoint_of(silent.socket.getsockname())
            await sightings.look(broker.endpoint, [remote])
    assert len(sightings.samples) == 3
    assert sightings.nat == NO_NAT


async def test_who_says_nonsense_is_missing() -> None:
    async def babble(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with open_probed_broker(ANOTHER_ADDRESS) as broker, trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, babble, 0, host=HOST))
        remote = endpoint_of(listener.socket.getsockname())
        assert await survey_nat(broker.endpoint, [remote]) == NO_NAT
        assert await survey_nat(remote, [broker.endpoint]) == attrs.evolve(NO_NAT, filtering=None)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_broker_that_is_tired_of_calling() -> None:
    async with open_probed_broker(ANOTHER_ADDRESS) as broker:
        for _ in range(CALLS_PER_WINDOW):
            assert (await survey_nat(broker.endpoint, broker.probes)).filtering is not None
        assert await survey_nat(broker.endpoint, broker.probes) == attrs.evolve(
            NO_NAT, filtering=None
        )


async def test_cancelled_at_any_time_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call_slowly(*arguments: Any) -> CalledBack:
        await trio.sleep(0.01)
        return await call_back(*arguments)

    monkeypatch.setattr(clients, "call_back", call_slowly)
    async with open_probed_broker(ANOTHER_ADDRESS) as broker:
        before = held()
        for milliseconds in range(0, 24, 2):
            with trio.move_on_after(milliseconds / 1000):
                await survey_nat(broker.endpoint, broker.probes)
        await until(lambda: held() == before)
