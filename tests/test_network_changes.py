"""That the network has changed is told, by the kernel and without polling."""

from concurrent.futures import Future

import trio
import trio.testing

from trio_p2p._net.network_changes import wait_network_changed

from .lab import KernelNetwork, start

PATIENCE = 10.0


def test_an_address_that_comes_is_a_change(kernel_network: KernelNetwork) -> None:
    host = kernel_network.add_host().host
    listening: Future[None] = Future()

    async def wait() -> None:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_network_changed)
                await trio.testing.wait_all_tasks_blocked()
                listening.set_result(None)

    waiting = start(host, wait)
    listening.result(PATIENCE)
    assert not waiting.done()
    host.ip("address add 192.0.2.99/32 dev lo")
    waiting.result(PATIENCE)


def test_nothing_is_told_while_nothing_changes(kernel_network: KernelNetwork) -> None:
    async def wait() -> bool:
        with trio.move_on_after(0.1) as scope:
            await wait_network_changed()
        return scope.cancelled_caught

    assert start(kernel_network.add_host().host, wait).result(PATIENCE)
