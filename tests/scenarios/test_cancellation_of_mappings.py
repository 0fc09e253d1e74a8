"""Whoever is cancelled while a port is mapped, at whatever step, leaves no mapping behind."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from trio_p2p._portmap.attempts import MappingProtocol
from trio_p2p._portmap.port_mapping import open_port_mapping
from trio_p2p._portmap.router_report import report_on_router

from ..kit.every_step import Canceller, at_every_step
from ..kit.fake_router import PORT, UDP_PROTOCOLS, FakeRouter, hurried as hurried, router as router
from ..kit.loopback import until

PCP, NAT_PMP, _ = MappingProtocol
SHORT = 1

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.usefixtures("hurried")]


@pytest.mark.parametrize(
    ("asked", "speaks"),
    [((PCP,), (PCP,)), ((NAT_PMP,), (NAT_PMP,)), (UDP_PROTOCOLS, (NAT_PMP,))],
    ids=["PCP", "NAT_PMP", "PCP first"],
)
async def test_port_mapping(
    router: FakeRouter, asked: Sequence[MappingProtocol], speaks: tuple[MappingProtocol, ...]
) -> None:
    router.speaks = speaks

    async def map_and_renew() -> None:
        async with open_port_mapping(PORT, protocols=asked):
            await trio.testing.wait_all_tasks_blocked()
            router.restart()
            router.epoch = 0
            await router.announce(next(iter(router.respond(b"\0\0"))))
            await router.announce()
            await until(lambda: bool(router.mappings))
            router.epoch = 1000

    async def scenario(canceller: Canceller) -> None:
        router.epoch = 1000
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - its steps can be told from ours
            nursery.start_soon(canceller.run, map_and_renew)
        await until(lambda: router.mappings == {})

    await at_every_step(scenario)


async def test_report(router: FakeRouter) -> None:
    async def report() -> None:
        await report_on_router(UDP_PROTOCOLS)

    async def scenario(canceller: Canceller) -> None:
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(canceller.run, report)
        await until(lambda: router.mappings == {})

    await at_every_step(scenario)
