"""Connections that a peer has made: one to each receiver, for all tasks that ask for it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trio_p2p import (
    Identity,
    LocalProtocolError,
    NotAdmittedError,
    P2PConnection,
    P2PStream,
    PathKind,
    Peer,
    RelayError,
    Technique,
    UnknownUIDError,
    WrongPeerError,
    open_peer,
)
from trio_p2p._broker.server import Broker
from trio_p2p._connect.connector import Connector
from trio_p2p._connect.pool import Target

from ..kit.loopback import (
    DIRECT_TECHNIQUES,
    PATIENCE,
    LoopbackBroker,
    echo,
    exchange,
    open_broker,
    open_listener,
    until,
)


@attrs.define
class Site:
    """A receiver that echoes what is sent to two names of its, and a sender.

    Attributes:
        searches: what connections were looked for.
        may_connect: until when they are not found.
        ended: how many searches have ended.
    """

    broker: LoopbackBroker
    receiver: Peer
    sender: Peer
    searches: list[Target] = attrs.field(factory=list)
    may_connect: trio.Event = attrs.field(factory=trio.Event)
    ended: int = 0


@asynccontextmanager
async def open_site(**options: Any) -> AsyncGenerator[Site]:
    """A site; the options are the sender's."""

    async def note_and_connect(connector: Connector, target: Target) -> P2PConnection:
        site.searches.append(target)
        try:
            await site.may_connect.wait()
            return await connect(connector, target)
        finally:
            site.ended += 1

    connect = Connector._connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connector, "_connect", note_and_connect)
        async with (
            open_broker() as broker,
            open_peer(broker.address) as receiver,
            open_peer(broker.address, **options) as sender,
            trio.open_nursery() as nursery,
        ):
            site = Site(broker, receiver, sender)
            site.may_connect.set()
            for uid in ("alice", "bob"):
                await nursery.start(receiver.serve, uid, echo)
            yield site
            nursery.cancel_scope.cancel(reason="the test is over")


async def assert_echoes(stream: P2PStream) -> None:
    assert await exchange(stream, b"some bytes") == b"some bytes"


# One connection for many tasks


async def test_twenty_tasks_at_once_make_one_connection() -> None:
    connections: set[P2PConnection] = set()

    async def use(number: int) -> None:
        if number % 2:
            connections.add(await site.sender.connect("alice"))
        stream = await site.sender.open_stream("alice")
        connections.add(stream.connection)
        await assert_echoes(stream)

    async with open_site() as site:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(use, number)
        assert len(site.searches) == len(connections) == 1
        assert site.sender.statistics().connections == 1
        await until(lambda: site.receiver.statistics().connections == 1)


async def test_stream_uses_the_connection_that_is_there() -> None:
    async with open_site() as site:
        first = await site.sender.open_stream("alice")
        await site.broker.kill()
        second = await site.sender.open_stream("alice")
        assert second.connection is first.connection
        assert await site.sender.connect("alice") is first.connection
        for stream in (first, second):
            await assert_echoes(stream)
        await site.broker.start()


async def test_task_that_is_cancelled_does_not_end_the_search_of_the_others() -> None:
    streams: list[P2PStream] = []

    async def open_one(scope: trio.CancelScope) -> None:
        with scope:
            streams.append(await site.sender.open_stream("alice"))

    async with open_site() as site:
        hasty, patient = trio.CancelScope(), trio.CancelScope()
        site.may_connect = trio.Event()
        async with trio.open_nursery() as nursery:
            for count, scope in enumerate([hasty, patient], 1):
                nursery.start_soon(open_one, scope)
                await until(lambda: _waiting(site) == count)  # noqa: B023
            hasty.cancel(reason="the test says so")
            await until(lambda: _waiting(site) == 1)
            assert not site.ended
            site.may_connect.set()
        [stream] = streams
        await assert_echoes(stream)
        assert len(site.searches) == 1


async def test_last_task_that_is_cancelled_ends_the_search() -> None:
    async with open_site() as site:
        site.may_connect = trio.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(site.sender.open_stream, "alice")
            await until(lambda: _waiting(site) == 3)
            nursery.cancel_scope.cancel(reason="the test says so")
        await until(lambda: site.ended == 1)
        assert not site.sender._connector._pool._searches
        assert site.sender.statistics().connections == 0
        site.may_connect.set()
        await assert_echoes(await site.sender.open_stream("alice"))
        assert len(site.searches) == 2


async def test_connection_that_is_made_when_the_last_task_has_gone_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[P2PConnection] = []

    async def connect_too_late(target: Target) -> P2PConnection:
        made.append(await connect(target))
        with trio.CancelScope(shield=True):
            nursery.cancel_scope.cancel(reason="the test says so")
            await until(lambda: not _waiting(site))
        return made[0]

    async with open_site() as site:
        pool = site.sender._connector._pool
        connect = pool._connect
        monkeypatch.setattr(pool, "_connect", connect_too_late)
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - it may be cancelled from inside
            nursery.start_soon(site.sender.open_stream, "alice")
        await until(lambda: bool(made) and made[0].is_over)


async def test_task_that_comes_while_a_search_is_being_ended_begins_another_one() -> None:
    async with open_site() as site:
        site.may_connect = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.sender.open_stream, "alice")
            await until(lambda: _waiting(site) == 1)
            site.may_connect.set()  # at the same time
            nursery.cancel_scope.cancel(reason="the test says so")
        await assert_echoes(await site.sender.open_stream("alice"))


async def test_each_task_gets_an_error_of_its_own() -> None:
    errors: list[UnknownUIDError] = []

    async def fail() -> None:
        with pytest.raises(UnknownUIDError) as caught:
            await site.sender.open_stream("carol")
        errors.append(caught.value)

    async with open_site() as site:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(fail)
        assert len(site.searches) == 1
        assert len({id(error) for error in errors}) == 5
        assert {error.uid for error in errors} == {"carol"}


def _waiting(site: Site) -> int:
    """How many tasks wait for a connection."""
    return sum(each.waiting for each in site.sender._connector._pool._searches.values())


# Another one when there has to be


async def test_connection_that_is_over_is_replaced() -> None:
    async with open_site() as site:
        first = await site.sender.connect("alice")
        await first.aclose()
        with pytest.raises(trio.ClosedResourceError, match="connect again"):
            await first.open_stream()
        second = await site.sender.connect("alice")
        assert second is not first
        await assert_echoes(await second.open_stream())
        second.carrier.abort("the test says so")
        with pytest.raises(trio.BrokenResourceError, match="the test says so"):
            await second.open_stream()
        await assert_echoes(await site.sender.open_stream("alice"))
        assert len(site.searches) == 3


async def test_connection_that_the_peer_has_closed_is_replaced() -> None:
    async with open_site() as site:
        first = await site.sender.connect("alice")
        await until(lambda: site.receiver.statistics().connections == 1)
        [accepted] = site.receiver._connections._connections
        await accepted.aclose()
        await until(lambda: not first.is_usable)
        with pytest.raises(trio.BrokenResourceError):
            await first.open_stream()
        assert await site.sender.connect("alice") is not first


async def test_connection_of_a_peer_that_was_left_says_so() -> None:
    async with open_broker() as broker, open_listener("alice", broker.address):
        async with open_peer(broker.address) as sender:
            connection = await sender.connect("alice")
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await connection.open_stream()


# What is asked for


async def test_expected_peer_is_the_one_that_is_connected_to() -> None:
    async with open_site() as site:
        peer_id = site.receiver.peer_id
        expecting = await site.sender.connect("alice", expect=peer_id)
        assert expecting.peer_id == peer_id
        assert await site.sender.connect("alice") is expecting
        assert await site.sender.connect("alice", expect=str(peer_id)) is expecting
        with pytest.raises(WrongPeerError):
            await site.sender.connect("alice", expect=Identity.generate().peer_id)
        assert expecting.is_usable


@pytest.mark.parametrize("path", ["direct", "relay"])
async def test_connection_takes_only_paths_of_the_kind_that_it_was_asked_for(path: str) -> None:
    async with open_site() as site:
        connection = await site.sender.connect("alice", path=path)
        assert connection.path is not None
        assert connection.path.kind is PathKind(path)
        assert await site.sender.connect("alice", path=path) is connection
        assert await site.sender.connect("alice") is not connection
        await assert_echoes(await connection.open_stream())
        await assert_echoes(await site.sender.open_stream("alice"))
        assert connection.path.kind is PathKind(path)


@pytest.mark.parametrize(
    ("path", "techniques"), [("direct", ["relay"]), ("relay", DIRECT_TECHNIQUES)]
)
async def test_path_that_no_technique_leads_to_is_a_mistake(
    path: str, techniques: list[Technique]
) -> None:
    async with open_site(techniques=techniques) as site:
        with pytest.raises(LocalProtocolError, match=f"lead to no {path} path"):
            await site.sender.connect("alice", path=path)


async def test_relayed_connection_needs_a_broker_that_relays() -> None:
    async with open_site() as site:
        await site.broker.kill()
        site.broker.broker = Broker(relay=None)
        await site.broker.start()
        await until(lambda: site.broker.uids == {"alice", "bob"})
        with pytest.raises(RelayError):
            await site.sender.connect("alice", path="relay")


async def test_receiver_that_has_yet_to_come_is_waited_for() -> None:
    found: list[P2PConnection] = []

    async def connect() -> None:
        found.append(await site.sender.connect("carol", wait=True))

    async with open_site() as site:
        with pytest.raises(UnknownUIDError):
            await site.sender.connect("carol")
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(connect)
            await until(lambda: site.broker.broker.registry.watches == 1)
            async with site.receiver.listen("carol"):
                await until(lambda: len(found) == 3)
        assert len({*found}) == 1


# Two names of one program


async def test_two_names_of_one_program_come_to_share_a_connection() -> None:
    async with open_site() as site:
        alice = await site.sender.open_stream("alice")
        bob = await site.sender.open_stream("bob")
        for stream in (alice, bob):
            await stream.send_all(b"?")
            assert await stream.receive_some() == b"?"  # now it is known who is there
        assert alice.connection is not bob.connection
        for _ in range(3):
            later = await site.sender.open_stream("bob")
            assert later.connection is alice.connection
            assert later.uid == "bob"
            await assert_echoes(later)
        assert [target.uid for target in site.searches] == ["alice", "bob"]
        # The other one goes on as long as it has a stream.
        await assert_echoes(bob)
        await until(lambda: bob.connection.is_over)
        await assert_echoes(alice)
        assert not alice.connection.is_over


async def test_connection_that_the_application_keeps_does_not_give_way() -> None:
    async with open_site() as site:
        alice, bob = [await site.sender.connect(uid) for uid in ("alice", "bob")]
        for connection in (alice, bob):
            await assert_echoes(await connection.open_stream())
        assert await site.sender.connect("bob") is bob
        await assert_echoes(await bob.open_stream())


async def test_name_that_its_program_has_given_up_is_looked_for_again() -> None:
    async with open_site() as site:
        async with site.receiver.listen("carol") as listener:
            for uid in ("alice", "carol"):
                async with await site.sender.open_stream(uid) as stream:
                    await stream.send_all(b"?")
                    if uid == "carol":
                        await (await listener.accept()).send_all(b"!")
                    await stream.receive_some()
            joined = await site.sender.open_stream("carol")
            await joined.send_all(b"?")
            accepted = await listener.accept()
            await accepted.send_all(b"!")
            assert await joined.receive_some() == b"!"
            shared = joined.connection
            assert await site.sender.connect("alice") is shared
        await until(lambda: not shared.is_usable)
        async with open_listener("carol", site.broker.address) as other:
            stream = await site.sender.open_stream("carol")
            assert stream.peer_id == other.peer_id
        assert (await site.sender.connect("alice")).peer_id == site.receiver.peer_id


async def test_connections_that_are_made_at_once_do_not_end_each_other() -> None:
    async with open_site() as site:
        connections: list[P2PConnection] = []

        async def connect(uid: str, path: str | None) -> None:
            connections.append(await site.sender.connect(uid, path=path))

        async with trio.open_nursery() as nursery:
            for uid in ("alice", "bob"):
                for path in ("direct", "relay", None):
                    nursery.start_soon(connect, uid, path)
        assert len(connections) == 6
        for connection in connections:
            await assert_echoes(await connection.open_stream())
        assert not any(connection.is_over for connection in connections)


async def test_connection_that_has_given_way_is_not_ended_by_the_next_one() -> None:
    async with open_site() as site:
        first = await site.sender.open_stream("alice")
        await first.send_all(b"?")
        assert await first.receive_some() == b"?"
        first.connection.retire()
        second = await site.sender.open_stream("alice")
        assert second.connection is not first.connection
        await assert_echoes(second)
        await assert_echoes(first)


# Refused


async def test_refusal_that_comes_at_once_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait_over(connection: P2PConnection) -> bool:
        await connection.wait_over()
        return await wait_usable(connection)

    wait_usable = P2PConnection.wait_usable
    monkeypatch.setattr(P2PConnection, "wait_usable", wait_over)
    async with open_site() as site, site.receiver.listen("carol", admit=lambda _: False):
        for use in (site.sender.open_stream, site.sender.connect):
            with trio.fail_after(PATIENCE), pytest.raises(NotAdmittedError, match="does not admit"):
                await use("carol")
        assert [target.uid for target in site.searches] == ["carol"] * 2
