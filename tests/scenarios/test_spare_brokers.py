"""Peers that know several brokers use the first one that is there, and go back to it."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
import trio

from trio_p2p import BrokerUnreachableError, Peer, open_peer
from trio_p2p._broker.drain import drain
from trio_p2p._control import control
from trio_p2p._options import BrokerAddress
from trio_p2p._wire.messages import Draining

from ..kit.loopback import HOST, PATIENCE, LoopbackBroker, nobody_listening, open_broker, until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "HOME_TIME", 0.1)


@asynccontextmanager
async def open_brokers() -> AsyncGenerator[list[LoopbackBroker]]:
    async with open_broker() as first, open_broker() as second:
        yield [first, second]


def addresses_of(brokers: list[LoopbackBroker]) -> list[BrokerAddress]:
    return [broker.address for broker in brokers]


async def echo_once(
    sender: Peer, listener: trio.abc.Listener[trio.abc.HalfCloseableStream]
) -> None:
    with trio.fail_after(PATIENCE):
        async with await sender.open_stream("alice", wait=True) as opened:
            accepted = await listener.accept()
            async with accepted:
                await opened.send_all(b"hello")
                assert await accepted.receive_some(5) == b"hello"


async def say_nothing(stream: trio.SocketStream) -> None:
    async for _ in stream:
        pass


async def test_first_broker_is_used() -> None:
    async with (
        open_brokers() as brokers,
        open_peer(addresses_of(brokers)) as peer,
        peer.listen("alice"),
    ):
        assert [broker.uids for broker in brokers] == [{"alice"}, frozenset()]


async def test_next_broker_is_used_while_the_first_is_away_and_streams_outlive_that() -> None:
    async with open_brokers() as brokers, AsyncExitStack() as stack:
        first, second = brokers
        receiver = await stack.enter_async_context(open_peer(addresses_of(brokers)))
        sender = await stack.enter_async_context(open_peer(addresses_of(brokers)))
        listener = await stack.enter_async_context(receiver.listen("alice"))
        opened = await stack.enter_async_context(await sender.open_stream("alice"))
        accepted = await stack.enter_async_context(await listener.accept())
        await first.kill()
        await until(lambda: second.uids == {"alice"})
        await opened.send_all(b"still there")
        assert await accepted.receive_some(11) == b"still there"
        async with open_peer(addresses_of(brokers)) as another:
            await echo_once(another, listener)
        await first.start()
        await until(lambda: first.uids == {"alice"} and not second.uids)
        async with open_peer(addresses_of(brokers)) as another:
            await echo_once(another, listener)
        await opened.send_all(b"and still")
        assert await accepted.receive_some(9) == b"and still"
        assert listener.statistics().registrations >= 1


@pytest.mark.once
@pytest.mark.slow
async def test_clients_that_a_broker_has_sent_away_come_back_when_it_is_there_again() -> None:
    async with (
        open_brokers() as (first, second),
        open_peer(first.address) as peer,
        peer.listen("alice"),
        trio.open_nursery() as nursery,
    ):
        notice = Draining(5000, (f"{HOST}:{second.port}",))
        nursery.start_soon(drain, first.broker, notice, 5.0)
        await until(lambda: second.uids == {"alice"} and not first.uids)
        await first.kill()
        await first.start()
        await until(lambda: first.uids == {"alice"} and not second.uids)


async def test_no_broker_is_there() -> None:
    with nobody_listening() as one, nobody_listening() as other:
        async with open_peer([one, other]) as peer:
            with pytest.raises(
                BrokerUnreachableError, match="none of 2 brokers answers: "
            ) as error:
                await peer.open_stream("alice")
    assert str(one[1]) in str(error.value)
    assert str(other[1]) in str(error.value)


async def test_broker_that_does_not_greet_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_p2p._broker_client.finder.SPARE_TIME", 0.1)
    async with open_broker() as second, trio.open_nursery() as nursery:
        [silent] = await nursery.start(partial(trio.serve_tcp, say_nothing, 0, host=HOST))
        async with (
            open_peer([silent.socket.getsockname()[:2], second.address]) as peer,
            peer.listen("alice"),
        ):
            assert second.uids == {"alice"}
        nursery.cancel_scope.cancel(reason="the test is over")
