"""Whether two ports behind the same NAT reach each other from outside, in the NAT lab."""

from contextlib import suppress

import pytest
import trio

from trio_p2p._addresses import endpoint_of
from trio_p2p._nat import hairpin
from trio_p2p._nat.hairpin import is_hairpinning

from ..kit.lab import Dependence, NatBehaviour, UserspaceNetwork, run
from ..kit.loopback import HOST, held, nobody_listening, open_broker, until
from ..kit.probed_broker import probed_broker


@pytest.mark.slow
@pytest.mark.parametrize("filtering", Dependence)
@pytest.mark.parametrize("hairpins", [False, True])
def test_behind_a_nat(
    userspace_network: UserspaceNetwork, filtering: Dependence, *, hairpins: bool
) -> None:
    with probed_broker(userspace_network) as broker:
        site = userspace_network.add_site(NatBehaviour(filtering=filtering, hairpins=hairpins))
        assert run(site.host, is_hairpinning, broker.endpoint) is hairpins


@pytest.mark.slow
@pytest.mark.parametrize("hairpins", [False, True])
def test_behind_two_nats(userspace_network: UserspaceNetwork, *, hairpins: bool) -> None:
    with probed_broker(userspace_network) as broker:
        outer = NatBehaviour(hairpins=hairpins)
        site = userspace_network.add_site(NatBehaviour(), outer)
        assert run(site.host, is_hairpinning, broker.endpoint) is hairpins


async def test_without_a_nat() -> None:
    before = held()
    async with open_broker() as broker:
        assert await is_hairpinning(endpoint_of(broker.address)) is True
    assert held() == before


async def test_without_a_broker() -> None:
    with nobody_listening() as address:
        assert await is_hairpinning(endpoint_of(address)) is None


async def test_broker_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hairpin, "GREETING_TIME", 0.1)
    before = held()
    (silent,) = await trio.open_tcp_listeners(0, host=HOST)
    async with silent:
        assert await is_hairpinning(endpoint_of(silent.socket.getsockname())) is None
    assert held() == before


async def test_cancelled_at_any_time_nothing_is_left() -> None:
    async with open_broker() as broker:
        before = held()
        for milliseconds in range(0, 20, 2):
            with trio.move_on_after(milliseconds / 1000):
                await is_hairpinning(endpoint_of(broker.address))
        await until(lambda: held() == before)


async def test_somebody_else_is_not_the_other_port(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # given up, perhaps before it has read all
            await stream.send_all(bytes(16))
            async for _ in stream:
                pass

    monkeypatch.setattr(hairpin, "HAIRPIN_TIME", 0.5)
    async with open_broker() as broker, trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=HOST)
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        elsewhere = endpoint_of(listener.socket.getsockname())
        meet = hairpin._do_meet

        async def meet_elsewhere(one: hairpin._End, other: hairpin._End) -> bool:
            one.observed = other.observed = elsewhere
            return await meet(one, other)

        monkeypatch.setattr(hairpin, "_do_meet", meet_elsewhere)
        assert await is_hairpinning(endpoint_of(broker.address)) is False
        nursery.cancel_scope.cancel(reason="the test is over")
