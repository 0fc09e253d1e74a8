"""A peer: what it shares between streams, whom it waits for, and what ends when it is left."""

import errno
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from trio_p2p import (
    BrokerUnreachableError,
    Identity,
    LocalProtocolError,
    P2PError,
    P2PListener,
    P2PStream,
    Peer,
    PeerStatistics,
    StreamAbortedError,
    Technique,
    open_peer,
)
from trio_p2p._control import watches

from .kit.loopback import (
    DIRECT_TECHNIQUES,
    HOST,
    LIFETIME,
    PATIENCE,
    WAYS,
    Way,
    echo,
    exchange,
    held,
    nobody_listening,
    open_broker,
    open_listener,
    open_raw_peers,
    open_session_peers,
    until,
)
from .kit.streams import reset

BOTH_KINDS = pytest.mark.parametrize(
    "way", [Way(Technique.FAST, is_raw=True), Way()], ids=["raw", "session"]
)


async def open_pair(sender: Peer, receiver: Peer) -> tuple[P2PStream, P2PStream]:
    """The two ends of a stream that lives as long as both peers, the sender's first.

    The sender allows direct paths only: without a listener there is no better one any more.
    """
    async with receiver.listen("receiver") as listener:
        return await sender.open_stream("receiver"), await listener.accept()


open_sender = partial(open_peer, techniques=DIRECT_TECHNIQUES)


# Options


async def test_peer_has_the_identity_that_it_is_given_or_one_of_its_own() -> None:
    identity = Identity.generate()
    async with (
        open_peer("broker.invalid:1", identity=identity) as ours,
        open_peer("broker.invalid:1") as one,
        open_peer("broker.invalid:1") as another,
    ):
        assert ours.peer_id == identity.peer_id
        assert len({ours.peer_id, one.peer_id, another.peer_id}) == 3


async def test_options_are_checked_before_anything_is_opened() -> None:
    before = held()
    mistakes: list[tuple[dict[str, Any], str]] = [
        ({"window": 1}, "is no window"),
        ({"grace": -1.0}, "is no time"),
        ({"techniques": []}, "is no list of techniques"),
    ]
    for options, sentence in mistakes:
        with pytest.raises(LocalProtocolError, match=sentence):
            async with open_peer("broker.invalid:1", **options):
                pytest.fail("a wrong option was taken")
    assert held() == before


async def test_broker_is_not_asked_before_it_is_needed() -> None:
    with nobody_listening() as address:
        async with open_peer(address) as peer:
            assert peer.statistics() == PeerStatistics(0, 0, frozenset(), strangers=0)


# Names


async def test_one_peer_listens_under_two_names_and_opens_streams() -> None:
    async with open_broker() as broker, open_peer(broker.address) as peer:
        async with (
            peer.listen("alice") as alice,
            peer.listen_raw("bob") as bob,
            trio.open_nursery() as nursery,
        ):
            assert broker.uids == peer.statistics().names == {"alice", "bob"}
            assert alice.peer_id == bob.peer_id == peer.peer_id
            listeners: list[P2PListener[Any]] = [alice, bob]
            nursery.start_soon(trio.serve_listeners, echo, listeners)
            async with open_peer(broker.address) as other:
                assert await exchange(await other.open_stream("alice"), b"data") == b"data"
                assert await exchange(await other.open_raw_stream("bob"), b"data") == b"data"
            nursery.cancel_scope.cancel(reason="the test is over")
        await until(lambda: broker.uids == frozenset())
        assert peer.statistics().names == frozenset()


async def test_peer_may_register_its_own_id_and_no_other_one() -> None:
    stranger = Identity.generate().peer_id
    async with open_broker() as broker, open_peer(broker.address) as peer:
        async with peer.listen(peer.peer_id):
            assert broker.uids == {str(peer.peer_id)}
        with pytest.raises(LocalProtocolError, match="is the peer id of another identity"):
            async with peer.listen(stranger):
                pytest.fail("registered a stranger")


async def test_statistics_count_the_streams_of_both_sides() -> None:
    async with (
        open_broker() as broker,
        open_peer(broker.address) as receiver,
        open_sender(broker.address) as sender,
    ):
        opened, accepted = await open_pair(sender, receiver)
        assert sender.statistics().streams == receiver.statistics().streams == 1
        async with accepted, opened:
            pass
        await until(lambda: sender.statistics().streams == receiver.statistics().streams == 0)


# Waiting for receivers


@BOTH_KINDS
async def test_receiver_that_comes_later_is_waited_for(way: Way) -> None:
    async def open_one() -> None:
        streams.append(
            await (sender.open_raw_stream if way.is_raw else sender.open_stream)(
                "receiver", wait=True
            )
        )

    streams: list[trio.abc.Stream] = []
    async with (
        open_broker() as broker,
        way.open_peer(broker.address) as sender,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(open_one)
        await until(lambda: broker.broker.registry.watches == 1)
        assert not streams
        async with (
            way.open_listener("receiver", broker.address) as listener,
            await listener.accept() as accepted,
        ):
            await accepted.send_all(b"!")
            await until(lambda: bool(streams))
            assert await streams[0].receive_some(1) == b"!"
            await streams[0].aclose()


@BOTH_KINDS
async def test_receiver_that_is_there_is_not_waited_for(way: Way) -> None:
    async with (
        open_broker() as broker,
        way.open_listener("receiver", broker.address) as listener,
        way.open_peer(broker.address) as sender,
    ):
        open_ = sender.open_raw_stream if way.is_raw else sender.open_stream
        async with await open_("receiver", wait=True), await listener.accept():
            pass


async def test_receiver_is_found_though_the_broker_does_not_tell_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_p2p._peer.calls.MIN_RECHECK_TIME", 0.05)

    async def ignore(_: object) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(watches._Watched, "note_registration", ignore)
    async with (
        open_broker() as broker,
        open_peer(broker.address) as sender,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(partial(sender.open_stream, "receiver", wait=True))
        await until(lambda: broker.broker.registry.watches == 1)
        async with open_listener("receiver", broker.address) as listener:
            await listener.accept()
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_waiting_ends_with_another_error_than_that_there_is_no_receiver() -> None:
    with nobody_listening() as address:
        async with open_peer(address) as peer:
            with pytest.raises(BrokerUnreachableError):
                await peer.open_stream("receiver", wait=True)


async def test_watch_tells_of_each_registration() -> None:
    identity = Identity.generate()
    async with open_broker() as broker, open_peer(broker.address) as peer:
        with trio.fail_after(PATIENCE):
            async with peer.watch("receiver") as registrations:
                for _ in range(2):
                    await until(lambda: broker.broker.registry.watches == 1)
                    async with open_listener("receiver", broker.address, identity=identity):
                        await registrations.wait()
            await until(lambda: broker.broker.registry.watches == 0)


# Leaving


async def test_open_streams_are_aborted_when_their_peer_is_left() -> None:
    async with open_broker() as broker, open_peer(broker.address) as receiver:
        async with open_sender(broker.address) as sender:
            opened, accepted = await open_pair(sender, receiver)
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await opened.send_all(b"too late")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await accepted.receive_some()
        assert isinstance(caught.value.__cause__, StreamAbortedError)


async def test_closed_streams_deliver_what_they_have_taken_when_their_peer_is_left() -> None:
    data = bytes(2_000_000)
    async with open_broker() as broker, open_peer(broker.address) as receiver:
        async with open_sender(broker.address) as sender, trio.open_nursery() as nursery:
            opened, accepted = await open_pair(sender, receiver)
            nursery.start_soon(close_later, opened, data)
            await trio.testing.wait_all_tasks_blocked()
            received = bytearray()
            while len(received) < len(data) // 2:
                received += await accepted.receive_some()
            nursery.start_soon(read_into, received, accepted)
        assert received == data


async def close_later(stream: P2PStream, data: bytes) -> None:
    await stream.send_all(data)
    await trio.aclose_forcefully(stream)


async def read_into(received: bytearray, stream: P2PStream) -> None:
    async for piece in stream:
        received += piece


async def test_closed_streams_without_a_path_hold_a_peer_up_no_longer_than_its_grace() -> None:
    async with (
        open_broker() as broker,
        open_peer(broker.address) as receiver,
        open_sender(broker.address, grace=0.2) as sender,
    ):
        opened, _ = await open_pair(sender, receiver)
        await broker.kill()
        assert opened.path is not None
        reset(opened.path)
        await opened.send_all(b"not delivered")
        await trio.aclose_forcefully(opened)


async def test_peer_without_a_path_is_left_at_once_if_nothing_is_owed() -> None:
    async with open_broker() as broker, open_peer(broker.address) as receiver:
        with trio.fail_after(PATIENCE):
            async with open_sender(broker.address, grace=100 * PATIENCE) as sender:
                opened, accepted = await open_pair(sender, receiver)
                await broker.kill()
                assert opened.path is not None
                reset(opened.path)
                await until(lambda: opened.path is None)
                await opened.send_all(b"not delivered")
        assert opened.is_over
        accepted.abort()


async def test_accepted_streams_live_on_without_their_listener_and_end_with_the_peer() -> None:
    async with open_broker() as broker, open_sender(broker.address) as sender:
        async with open_peer(broker.address) as receiver:
            opened, accepted = await open_pair(sender, receiver)
            assert receiver.statistics() == PeerStatistics(1, 1, frozenset(), strangers=0)
            await accepted.send_all(b"still here")
            assert await opened.receive_some() == b"still here"
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await accepted.send_all(b"too late")
        with pytest.raises(trio.BrokenResourceError):
            await opened.receive_some()


async def test_peer_that_was_left_does_nothing_more() -> None:
    async def watch() -> None:
        async with peer.watch("receiver"):
            pytest.fail("it watches")

    async def listen() -> None:
        async with peer.listen("receiver"):
            pytest.fail("it listens")

    async def listen_raw() -> None:
        async with peer.listen_raw("receiver"):
            pytest.fail("it listens")

    async with open_broker() as broker:
        async with open_peer(broker.address) as peer:
            pass
        calls: list[Callable[[], Awaitable[object]]] = [
            watch,
            listen,
            listen_raw,
            partial(peer.serve, "receiver", echo),
            partial(peer.open_stream, "receiver"),
            partial(peer.open_stream, "receiver", wait=True),
            partial(peer.open_raw_stream, "receiver"),
            partial(peer.connect, "receiver"),
        ]
        for call in calls:
            with pytest.raises(trio.ClosedResourceError, match="this peer was left: open another"):
                await call()
        assert peer.statistics() == PeerStatistics(0, 0, frozenset(), strangers=0)


async def use_until_it_is_left(
    use: Callable[[Peer], Awaitable[object]], broker: tuple[str, int]
) -> None:
    """Have a task use a peer that another one leaves; the first has to be told."""

    async def use_it(peer: Peer) -> None:
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await use(peer)

    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack, trio.open_nursery() as others:
            peer = await stack.enter_async_context(open_peer(broker))
            others.start_soon(use_it, peer)
            await trio.testing.wait_all_tasks_blocked(0.05)
            await stack.aclose()


async def open_session(peer: Peer) -> None:
    await peer.open_stream("receiver")


async def open_raw(peer: Peer) -> None:
    await peer.open_raw_stream("receiver")


async def open_later(peer: Peer) -> None:
    await peer.open_stream("receiver", wait=True)


async def connect(peer: Peer) -> None:
    await peer.connect("receiver")


async def listen(peer: Peer) -> None:
    async with peer.listen("receiver"):
        pytest.fail("it listens")


async def listen_raw(peer: Peer) -> None:
    async with peer.listen_raw("receiver"):
        pytest.fail("it listens")


async def serve(peer: Peer) -> None:
    await peer.serve("receiver", echo)


async def watch_for_ever(peer: Peer) -> None:
    async with peer.watch("receiver") as registrations:
        async for _ in registrations:
            pass


@pytest.mark.parametrize(
    "use",
    [open_session, connect, open_raw, open_later, listen, listen_raw, serve, watch_for_ever],
)
async def test_what_is_under_way_ends_when_the_peer_is_left(
    use: Callable[[Peer], Awaitable[object]],
) -> None:
    async def say_nothing(stream: trio.SocketStream) -> None:
        async for _ in stream:
            pass

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, say_nothing, 0, host=HOST))
        await use_until_it_is_left(use, listener.socket.getsockname())
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("use", [open_later, watch_for_ever])
async def test_waiting_at_a_broker_ends_when_the_peer_is_left(
    use: Callable[[Peer], Awaitable[object]],
) -> None:
    async with open_broker() as broker:
        await use_until_it_is_left(use, broker.address)


async def test_accept_ends_when_the_peer_is_left() -> None:
    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    async with (
        open_broker() as broker,
        AsyncExitStack() as stack,
        trio.open_nursery() as others,
    ):
        peer = await stack.enter_async_context(open_peer(broker.address))
        listener = await stack.enter_async_context(peer.listen("receiver"))
        others.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        await stack.aclose()


async def test_peer_that_is_cancelled_ends_at_once() -> None:
    async with open_broker() as broker, open_peer(broker.address) as receiver:
        with trio.CancelScope() as scope:
            # To wait for the grace time would take longer than the test may.
            async with open_sender(broker.address, grace=10 * LIFETIME) as sender:
                opened, _ = await open_pair(sender, receiver)
                await opened.send_all(bytes(100_000))
                await broker.kill()
                await trio.aclose_forcefully(opened)
                scope.cancel(reason="the test says so")
        assert scope.cancelled_caught


# The broker, and this host


async def test_host_without_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with open_broker() as broker, open_peer(broker.address) as sender:
        monkeypatch.setattr("trio_p2p._broker_client.resolve.start_connecting", refuse)
        with pytest.raises(P2PError, match="Too many open files"):
            await sender.open_stream("receiver")


async def test_one_connection_to_the_broker_is_kept() -> None:
    async with open_raw_peers("receiver") as (broker, _, sender):
        for _ in range(3):
            await trio.aclose_forcefully(await sender.open_raw_stream("receiver"))
        # The receiver's, and the sender's: what came over fresh ports is closed again.
        await until(lambda: len(broker.broker._links) == 2)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_sender_finds_the_broker_again(way: Way) -> None:
    async with (
        open_broker() as broker,
        way.open_listener("receiver", broker.address) as listener,
        way.open_peer(broker.address) as sender,
        await way.open_stream_of(sender, "receiver"),
    ):
        await broker.kill()
        await broker.start()
        await until(lambda: listener.statistics().registrations == 2)
        async with await way.open_stream_of(sender, "receiver"):
            pass


async def test_survey_tells_that_nothing_is_in_between_on_loopback() -> None:
    async with open_session_peers("receiver") as (broker, _, peer):
        survey = await peer.survey()
        assert survey.broker.sockaddr == broker.address
        assert survey.local == survey.reflexive == survey.broker.address
        assert survey.is_translated is False


async def test_one_name_twice_is_a_mistake_of_the_caller() -> None:
    async with open_broker() as broker, open_peer(broker.address) as peer:
        for _ in range(2):
            async with peer.listen("alice"):
                with pytest.raises(LocalProtocolError, match="listens under 'alice' already"):
                    async with peer.listen_raw("alice"):
                        pytest.fail("registered twice")
                assert broker.uids == {"alice"}


async def test_stream_that_is_closed_before_the_whole_answer_has_come_ends_well() -> None:
    async def answer(stream: P2PStream) -> None:
        await stream.send_all(await stream.receive_some())
        while True:  # until it is not read any more, which ends the handler
            await stream.send_all(bytes(65536))

    async with (
        open_broker() as broker,
        open_peer(broker.address) as receiver,
        open_peer(broker.address) as sender,
        trio.open_nursery() as nursery,
    ):
        listener = await nursery.start(receiver.serve, "receiver", answer)
        for _ in range(5):
            async with await sender.open_stream("receiver") as stream:
                await stream.send_all(b"question")
                assert await stream.receive_some(8) == b"question"
        await until(lambda: listener.statistics().lost == 5)
        nursery.cancel_scope.cancel(reason="the test is over")
