"""Under one seed all happens in the same order, whatever the keys are."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from trio_p2p.testing import (
    ForgetMappings,
    LosePath,
    MoveHost,
    RestartBroker,
    RestorePath,
    open_memory_network,
    play,
    seeded_scheduling,
)


def packets_of_a_run(seed: int) -> list[str]:
    """Every packet of a run in which much goes wrong."""
    seen: list[str] = []

    async def main() -> None:
        with seeded_scheduling(seed):
            async with open_memory_network(
                seed=seed, on_packet=lambda each: seen.append(str(each))
            ) as network:
                broker = await network.start_broker()
                one, other = network.add_host("random"), network.add_host("eim-adf", "sequential")
                network.set_jitter(one, broker.host, 0.02)
                network.set_loss(other, broker.host, 0.05)
                async with (
                    one.open_peer(broker.address) as receiver,
                    other.open_peer(broker.address) as sender,
                    receiver.listen("one") as listener,
                ):
                    opened = await sender.open_stream("one", wait=True)
                    accepted = await listener.accept()
                    await opened.send_all(bytes(50_000))
                    await play(
                        network,
                        [
                            (1, LosePath(one, other)),
                            (8, RestorePath(one, other)),
                            (9, RestartBroker(broker)),
                            (20, MoveHost(one, ("masquerade",))),
                            (40, ForgetMappings(other)),
                        ],
                    )
                    await opened.aclose()
                    async with accepted:
                        count = 0
                        async for piece in accepted:
                            count += len(piece)
                    assert count == 50_000

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return seen


def test_one_seed_is_one_order() -> None:
    first = packets_of_a_run(seed=3)
    assert len(first) > 1000
    assert packets_of_a_run(seed=3) == first
    assert packets_of_a_run(seed=4) != first
