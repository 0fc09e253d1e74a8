"""A connection to the broker: many streams at once, and none that hangs."""

import pytest
import trio

from trio_p2p import (
    BrokerLostError,
    P2PError,
    P2PStream,
    Technique,
    open_peer,
    serve_p2p,
)
from trio_p2p._broker.quota import DEFAULT_LIMITS
from trio_p2p._control import broker_link
from trio_p2p._control.broker_link import BrokerLink
from trio_p2p._wire.messages import (
    Hello,
    IntroductionRequest,
    RefusalCode,
    Refused,
    StreamKind,
)
from trio_p2p._wire.offer import Opening

from ..kit.fake_broker import open_fake_broker
from ..kit.hostile import GREETING
from ..kit.loopback import PATIENCE, TECHNIQUES, echo, open_broker, until
from ..kit.raw_client import RawClient

MANY = 500  # streams at a time


async def greets_only(client: RawClient) -> None:
    await client.receive(Hello)
    await client.send(GREETING)


async def ask(link: BrokerLink) -> None:
    await link.ask(
        "alice", Technique.FAST, StreamKind.RAW, opening=Opening.CROSSING, search=bytes(16)
    )


async def test_what_was_asked_ends_when_the_link_is_closed() -> None:
    links: list[BrokerLink] = []
    may_close = trio.Event()

    async def hold_link() -> None:
        async with open_peer(address) as peer:
            [control] = peer._controls
            async with control.open_fresh_link(()) as link:
                links.append(link)
                await may_close.wait()

    async def ask_in_vain() -> None:
        with pytest.raises(BrokerLostError):
            await ask(links[0])

    async with open_fake_broker(greets_only) as address:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hold_link)
                await until(lambda: bool(links))
                nursery.start_soon(ask_in_vain)
                nursery.start_soon(ask_in_vain)
                await until(lambda: len(links[0]._dialogue._answers) == 2)
                may_close.set()
            await ask_in_vain()


@pytest.mark.parametrize("is_alive", [True, False])
async def test_broker_that_owes_one_answer_only_is_kept(
    is_alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def owe_first_answer(client: RawClient) -> None:
        await greets_only(client)
        await client.receive(IntroductionRequest)
        if is_alive:
            await client.send(Refused(RefusalCode.UNKNOWN_UID, "no such receiver", 1))

    monkeypatch.setattr(broker_link, "ANSWER_TIME", 0.2)
    async with open_fake_broker(owe_first_answer) as address, open_peer(address) as peer:
        [control] = peer._controls
        with trio.fail_after(PATIENCE):
            async with control.open_fresh_link(()) as link:
                with pytest.raises(BrokerLostError, match="has not answered"):
                    await ask(link)
                assert (link.lost is None) == is_alive


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("path", ["direct", "relay", "any"])
async def test_many_streams_at_once_all_return(path: str) -> None:
    streams: list[P2PStream] = []
    errors: list[P2PError] = []

    async def open_one() -> None:
        try:
            streams.append(await sender.open_stream("alice"))
        except P2PError as error:
            errors.append(error)

    async with open_broker() as broker, trio.open_nursery() as serving:
        await serving.start(serve_p2p, echo, "alice", broker.address)
        async with open_peer(broker.address, techniques=TECHNIQUES[path]) as sender:
            async with trio.open_nursery() as nursery:
                for _ in range(MANY):
                    nursery.start_soon(open_one)
            assert len(streams) + len(errors) == MANY
            assert len(streams) >= DEFAULT_LIMITS.circuits_per_ip
            for stream in streams[:10]:
                await stream.send_all(b"?")
                assert await stream.receive_some() == b"?"
            for stream in streams:
                await trio.aclose_forcefully(stream)
        serving.cancel_scope.cancel(reason="the test is over")
