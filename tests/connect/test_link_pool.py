"""The connections to the broker that a sender keeps: many streams at once, and none that hangs."""

import pytest
import trio

from trio_p2p import (
    BrokerLostError,
    P2PError,
    P2PStream,
    Technique,
    open_p2p_listener,
    open_peer,
    serve_p2p,
)
from trio_p2p._broker.quota import DEFAULT_LIMITS
from trio_p2p._broker_client import connection as broker_connection
from trio_p2p._connect import link_pool
from trio_p2p._connect.broker_link import BrokerLink, open_broker_link
from trio_p2p._wire.messages import Hello, StreamKind
from trio_p2p._wire.offer import Nat, Opening

from ..kit.fake_broker import open_fake_broker
from ..kit.hostile import GREETING
from ..kit.loopback import DIRECT_TECHNIQUES, PATIENCE, TECHNIQUES, echo, open_broker, until
from ..kit.raw_client import RawClient, identity_of

MANY = 500  # streams at a time


async def greets_only(client: RawClient) -> None:
    await client.receive(Hello)
    await client.send(GREETING)


async def ask(link: BrokerLink) -> None:
    await link.ask(
        "alice",
        Technique.FAST,
        StreamKind.RAW,
        identity_of("sender"),
        Nat(),
        port_guessing=False,
        opening=Opening.CROSSING,
        search=bytes(16),
    )


async def test_what_was_asked_ends_when_the_link_is_closed() -> None:
    links: list[BrokerLink] = []
    may_close = trio.Event()

    async def hold_link() -> None:
        async with open_broker_link(address, (), 4) as link:
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
                await until(lambda: len(links[0]._answers) == 2)
                may_close.set()
            await ask_in_vain()


async def test_link_is_not_dropped_between_its_start_and_its_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drop_all(pool: link_pool.LinkPool) -> None:
        for link in pool._links:
            if not link.users:
                link.ended.set()

    # As if another stream had just been opened.
    async def keep(pool: link_pool.LinkPool, link: BrokerLink, *args: object) -> None:
        status = args[0] if args else trio.TASK_STATUS_IGNORED
        pool._links.append(link)
        drop_all(pool)
        status.started(link)  # type: ignore[attr-defined]
        await link.ended.wait()
        pool._links.remove(link)

    monkeypatch.setattr(link_pool.LinkPool, "_keep", keep)
    async with (
        open_broker() as broker,
        open_p2p_listener("alice", broker.address) as listener,
        open_peer(broker.address, techniques=DIRECT_TECHNIQUES) as sender,
    ):
        with trio.fail_after(PATIENCE):
            stream = await sender.open_stream("alice")
            async with stream, await listener.accept():
                pass


async def test_one_spare_link_is_opened_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = 0
    keep_spare = link_pool.LinkPool._keep_spare_link

    async def count(pool: link_pool.LinkPool, ip_version: int) -> None:
        nonlocal opened
        opened += 1
        await keep_spare(pool, ip_version)

    monkeypatch.setattr(link_pool.LinkPool, "_keep_spare_link", count)
    monkeypatch.setattr(broker_connection, "GREETING_TIME", 0.2)
    async with (
        open_fake_broker(lambda client: client.receive(Hello)) as address,
        open_peer(address, techniques=DIRECT_TECHNIQUES) as sender,
        trio.open_nursery() as nursery,
    ):

        async def open_in_vain() -> None:
            with pytest.raises(P2PError):
                await sender.open_stream("alice")

        for _ in range(10):
            nursery.start_soon(open_in_vain)
    assert opened < 10


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
