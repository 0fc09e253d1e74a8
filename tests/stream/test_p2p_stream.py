"""Streams as applications use them, over real sockets on the loopback interface."""

import random
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
from trio.testing import check_half_closeable_stream

from trio_p2p import (
    AttemptFailedError,
    Identity,
    IntroductionError,
    LocalProtocolError,
    NotAdmittedError,
    P2PStream,
    PathKind,
    PathLostError,
    RelayLimits,
    SessionLostError,
    WrongPeerError,
    open_p2p_listener,
    open_p2p_stream,
    open_peer,
)
from trio_p2p._connect.direct import DirectDialer
from trio_p2p._net.attempt_log import AttemptLog
from trio_p2p._peer_connection import PeerConnection

from ..kit.loopback import open_broker, open_listener, until
from ..kit.streams import Content, Peers, exchange_content, open_peers, reset

CLOGGED_AFTER = 0.05  # seconds without room
PATHS = ["direct", "relay"]


async def clog(stream: trio.abc.SendStream) -> None:
    """Send until there is no room any more."""

    async def send() -> None:
        while True:
            await stream.send_all(bytes(65536))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked(CLOGGED_AFTER)
        nursery.cancel_scope.cancel(reason="it is clogged")


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
async def test_is_a_good_trio_stream(path: str) -> None:
    async with open_peers() as peers:

        async def make() -> tuple[P2PStream, P2PStream]:
            return await peers.open_pair(path)

        async def make_clogged() -> tuple[P2PStream, P2PStream]:
            pair = await make()
            for stream in pair:
                await clog(stream)
            return pair

        await check_half_closeable_stream(make, make_clogged)


@pytest.mark.parametrize("path", PATHS)
async def test_both_ends_know_each_other_and_the_path(path: str) -> None:
    identity = Identity.generate()
    async with open_peers(identity=identity) as peers:
        opened, accepted = await peers.open_pair(path)
        assert opened.peer_id == peers.listener.peer_id
        assert accepted.peer_id == peers.sender.peer_id == identity.peer_id
        assert opened.path is not None
        assert accepted.path is not None
        assert opened.path.kind == accepted.path.kind == path
        if path == "direct":
            assert opened.path.local == accepted.path.remote
            assert opened.path.remote == accepted.path.local
        else:
            assert (
                opened.path.remote.sockaddr == accepted.path.remote.sockaddr == peers.broker.address
            )


async def test_peer_id_can_be_dialled_and_is_pinned() -> None:
    identity = Identity.generate()
    async with (
        open_broker() as broker,
        open_p2p_listener(identity.peer_id, broker.address, identity=identity) as listener,
        open_p2p_stream(identity.peer_id, broker.address) as stream,
        await listener.accept() as accepted,
    ):
        assert stream.peer_id == identity.peer_id
        await accepted.send_all(b"it is me")
        assert await stream.receive_some() == b"it is me"


async def test_another_identity_than_the_expected_one_is_refused() -> None:
    async with open_peers() as peers:
        other = Identity.generate().peer_id
        with pytest.raises(WrongPeerError, match=str(other)):
            await peers.sender.open_stream("receiver", expect=other)
        with pytest.raises(LocalProtocolError, match="of another identity"):
            async with open_p2p_listener(other, peers.broker.address):
                pass


async def test_only_whom_the_receiver_admits_gets_in() -> None:
    friend = Identity.generate()
    async with (
        open_broker() as broker,
        open_p2p_listener(
            "receiver", broker.address, admit=lambda peer_id: peer_id == friend.peer_id
        ) as listener,
    ):
        async with open_p2p_stream("receiver", broker.address) as stream:
            with pytest.raises(trio.BrokenResourceError, match="does not admit") as caught:
                await stream.receive_some()
            assert isinstance(caught.value.__cause__, NotAdmittedError)
        async with (
            open_p2p_stream("receiver", broker.address, identity=friend) as stream,
            await listener.accept() as accepted,
        ):
            assert accepted.peer_id == friend.peer_id
        assert listener.statistics().connected == 1


# Endings


async def test_closing_waits_until_the_other_side_has_everything() -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair()
        data = bytes(100_000)
        await opened.send_all(data)
        await opened.aclose()
        assert opened.path is None
        assert b"".join([piece async for piece in accepted]) == data
        with pytest.raises(trio.BrokenResourceError, match="the peer has closed"):
            await accepted.send_all(b"too late")
        await accepted.aclose()


async def test_leaving_the_context_by_an_error_breaks_the_stream() -> None:
    async def fail(peers: Peers) -> P2PStream:
        async with open_p2p_stream("receiver", peers.broker.address) as opened:
            accepted.append(await peers.listener.accept())
            await opened.send_all(b"the first half")
            assert await accepted[0].receive_some() == b"the first half"
            raise ZeroDivisionError

    accepted: list[P2PStream] = []
    async with open_peers() as peers:
        with pytest.raises(ZeroDivisionError):
            await fail(peers)
        with pytest.raises(trio.BrokenResourceError):
            await accepted[0].receive_some()


@pytest.mark.parametrize("side", ["sender", "listener"])
async def test_streams_end_with_the_context_that_owns_them(side: str) -> None:
    async def hold(
        context: AbstractAsyncContextManager[Any], *, task_status: trio.TaskStatus[Any]
    ) -> None:
        with trio.CancelScope() as scope:
            async with context as held:
                task_status.started((held, scope))
                await trio.sleep_forever()

    async with open_broker() as broker, trio.open_nursery() as nursery:
        scopes = {}
        listener, scopes["listener"] = await nursery.start(
            hold, open_p2p_listener("receiver", broker.address)
        )
        sender, scopes["sender"] = await nursery.start(hold, open_peer(broker.address))
        opened = await sender.open_stream("receiver")
        accepted = await listener.accept()
        scopes[side].cancel()
        ours, theirs = (opened, accepted) if side == "sender" else (accepted, opened)
        with pytest.raises(trio.BrokenResourceError):
            await theirs.receive_some()
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await ours.receive_some()
        nursery.cancel_scope.cancel()


async def test_without_any_path_a_stream_is_given_up_after_the_grace_time() -> None:
    async with open_peers(grace=0.2) as peers:
        opened, accepted = await peers.open_pair()
        await peers.broker.kill()
        assert opened.path is not None
        reset(opened.path)
        for stream in (opened, accepted):
            with pytest.raises(
                trio.BrokenResourceError, match=r"no path for 0\.2 seconds"
            ) as caught:
                await stream.receive_some()
            assert isinstance(caught.value.__cause__, PathLostError)
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"nowhere")
            with pytest.raises(trio.BrokenResourceError):
                await stream.wait_path_changed(stream.path)
            await stream.aclose()


async def test_stream_goes_on_after_the_broker_was_away() -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("relay")
        await opened.send_all(b"before")
        await peers.broker.kill()
        await opened.send_all(b", between")
        await peers.broker.start()
        await opened.send_all(b" and after")
        await opened.send_eof()
        assert b"".join([data async for data in accepted]) == b"before, between and after"


async def test_receiver_that_has_started_anew_knows_nothing_of_its_old_streams() -> None:
    identity = Identity.generate()
    async with open_broker() as broker, open_peer(broker.address) as sender:
        async with open_p2p_listener("receiver", broker.address, identity=identity) as listener:
            opened = await sender.open_stream("receiver")
            await (await listener.accept()).send_all(b"!")
            assert await opened.receive_some() == b"!"  # so it has heard of the receiver
            await broker.kill()
            assert opened.path is not None
            reset(opened.path)
            await opened.wait_path_changed(opened.path)
        await broker.start()
        async with open_p2p_listener("receiver", broker.address, identity=identity):
            with pytest.raises(trio.BrokenResourceError, match="not known here") as caught:
                await opened.receive_some()
            assert isinstance(caught.value.__cause__, SessionLostError)


# Paths


async def test_relayed_stream_moves_to_a_direct_path_by_itself() -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair()
        for stream in (opened, accepted):
            while stream.path is None or stream.path.kind is not PathKind.DIRECT:
                await stream.wait_path_changed(stream.path)
        await opened.send_all(b"here")
        assert await accepted.receive_some() == b"here"


async def test_relayed_path_is_in_reserve_after_the_move_to_a_direct_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def dial_later(dialer: DirectDialer, attempts: AttemptLog) -> PeerConnection:
        await may_be_direct.wait()
        return await dial(dialer, attempts)

    may_be_direct, dial = trio.Event(), DirectDialer.dial
    monkeypatch.setattr(DirectDialer, "dial", dial_later)
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair()
        may_be_direct.set()
        await opened.wait_path_changed(opened.path)
        direct = opened.path
        await until(lambda: peers.listener.statistics().introductions == 3)
        await until(lambda: peers.broker.broker.registry.circuits == 1)
        assert opened.path is direct
        assert direct is not None
        may_be_direct = trio.Event()
        reset(direct)
        await opened.send_all(b"here")
        assert await accepted.receive_some() == b"here"


async def test_stream_that_may_only_be_relayed_stays_so() -> None:
    async with open_peers() as peers:
        opened, _ = await peers.open_pair("relay")
        with trio.move_on_after(0.2) as scope:
            await opened.wait_path_changed(opened.path)
        assert scope.cancelled_caught
        assert opened.path is not None
        assert opened.path.kind is PathKind.RELAY


async def test_waiting_for_another_path_ends_with_the_stream() -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("relay")

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await opened.wait_path_changed(opened.path)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await opened.aclose()
        with pytest.raises(trio.BrokenResourceError, match="the peer has closed"):
            await watch_paths(accepted)


async def test_what_the_relay_says_last_is_told_to_both_ends() -> None:
    async with open_peers(grace=0.2, relay=RelayLimits(max_bytes=100_000)) as peers:
        opened, accepted = await peers.open_pair("relay")
        await opened.send_all(bytes(200_000))
        for stream in (opened, accepted):
            with pytest.raises(trio.BrokenResourceError, match="it has carried 100000 bytes"):
                await exhaust(stream)


async def test_what_came_before_the_relay_cut_the_circuit_can_be_read_afterwards() -> None:
    async with open_peers(grace=0.0, relay=RelayLimits(max_bytes=100_000)) as peers:
        opened, accepted = await peers.open_pair("relay")
        await opened.send_all(b"x" * 200_000)  # one frame, of which a part comes
        with pytest.raises(trio.BrokenResourceError, match="it has carried 100000 bytes"):
            await watch_paths(accepted)
        received = bytearray()
        with pytest.raises(trio.BrokenResourceError, match="it has carried 100000 bytes"):
            await read_into(received, accepted)
        assert 50_000 < len(received) < 100_000
        assert received == b"x" * len(received)


async def read_into(received: bytearray, stream: P2PStream) -> None:
    async for data in stream:
        received += data


async def watch_paths(stream: P2PStream) -> None:
    path = stream.path
    while True:
        path = await stream.wait_path_changed(path)


async def exhaust(stream: P2PStream) -> None:
    async for _ in stream:
        pass


RUNS, KILLS, BYTES = 100, 5, 4 * 1024 * 1024
AT_ONCE = 10


async def kill_now_and_then(stream: P2PStream, source: random.Random) -> None:
    for _ in range(KILLS):
        await trio.sleep(source.uniform(0.0, 0.1))
        if stream.path is not None:
            reset(stream.path)


@pytest.mark.once
@pytest.mark.slow
async def test_every_run_is_byte_exact_although_its_path_is_killed_again_and_again() -> None:
    limiter, opening = trio.CapacityLimiter(AT_ONCE), trio.Lock()

    async def run(peers: Peers, number: int) -> None:
        source = random.Random(number)
        own, other = Content(2 * number, BYTES), Content(2 * number + 1, BYTES)
        async with limiter:
            async with opening:
                opened, accepted = await peers.open_pair(source.choice(["any", *PATHS]))
            async with opened, accepted, trio.open_nursery() as nursery:
                nursery.start_soon(kill_now_and_then, opened, source)
                nursery.start_soon(kill_now_and_then, accepted, source)
                nursery.start_soon(exchange_content, opened, own, other)
                nursery.start_soon(exchange_content, accepted, other, own)

    async with open_peers() as peers, trio.open_nursery() as nursery:
        for number in range(RUNS):
            nursery.start_soon(run, peers, number)


async def test_error_names_the_causes_of_both_ways() -> None:
    async with (
        open_broker() as broker,
        open_listener("receiver", broker.address, techniques=["classic"]),
        open_peer(broker.address, techniques=["fast", "relay"]) as sender,
    ):
        with pytest.raises(IntroductionError, match="no path leads to the peer") as caught:
            await sender.open_stream("receiver")
    causes = caught.value.__cause__
    assert isinstance(causes, ExceptionGroup)
    direct, relayed = sorted(causes.exceptions, key=lambda cause: type(cause).__name__)
    assert isinstance(direct, AttemptFailedError)
    assert direct.attempt.technique == "fast"
    assert "cannot be introduced by this technique" in str(relayed)
