"""A deposit is made once, whenever the path is lost."""

import deposits
import pytest
import trio

from trio_p2p.testing import LosePath, MemoryNetwork, play

MOMENTS = [n / 100 for n in range(12)]  # seconds after which the path is lost


@pytest.mark.trio
@pytest.mark.parametrize("moment", MOMENTS)
async def test_deposit(
    moment: float, memory_network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    broker = await memory_network.start_broker()
    bank, home = memory_network.add_host("eim-apdf"), memory_network.add_host("masquerade")
    account = deposits.Account()
    async with (
        bank.open_peer(broker.address) as clerk,
        home.open_peer(broker.address) as customer,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(clerk.serve, "account", account.take)
        await customer.connect("account")
        nursery.start_soon(play, memory_network, [(moment, LosePath(bank, home))])
        await deposits.deposit(customer, 10)
        nursery.cancel_scope.cancel()
    assert account.balance == 10
