"""A broker that is killed, started again or drained under hundreds of receivers.

What is counted are attempts, not seconds: an introduction that begins when the broker and the
receiver are there again succeeds at once. How soon receivers try again is for
``tests/control/test_patience.py``.
"""

import hashlib
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import attrs
import pytest
import trio

from trio_p2p import P2PError, P2PListener, Peer, Technique, open_peer

from ..kit.broker_process import GENEROUS_OPTIONS, BrokerProcess, open_broker_process
from ..kit.loopback import DIRECT_TECHNIQUES, HOST, echo, until
from ..kit.soak import LITTLE_OR_MUCH

pytestmark = [pytest.mark.once, pytest.mark.slow]

RECEIVERS, MANY_RECEIVERS = 150, 500
SENDERS = 8
STREAMS = 5  # over the relay
PIECE_BYTES = 50_000
PAUSE = 0.05  # seconds between two pieces, and until a sender asks again for what has failed
INTRODUCED = 6  # times more, by each sender, until a phase is over
OUTAGES, MANY_OUTAGES = (2.0,), (0.0, 1.0, 5.0, 20.0)  # seconds
DRAINS = 3  # in a soak

Places = Sequence[tuple[str, int]]


@attrs.define
class Introductions:
    """What has come of introductions.

    Attributes:
        made: how many have succeeded, by sender.
        failed: how many attempts have failed.
        uncured: the senders whose last attempt has failed.
    """

    made: Counter[int] = attrs.field(factory=Counter[int])
    failed: int = 0
    uncured: set[int] = attrs.field(factory=set)


class Crowd:
    """Receivers, and senders that have themselves introduced to one after the other.

    Args:
        nursery: of all of them.
        brokers: where they meet.
    """

    def __init__(self, nursery: trio.Nursery, brokers: Places) -> None:
        self.introductions = Introductions()
        self.is_disturbed = False  # whether the broker is away, or goes away
        self._nursery = nursery
        self._brokers = brokers
        self._listeners: dict[str, P2PListener[trio.SocketStream]] = {}
        self._expected = 1  # registrations of each receiver

    async def start(self, receivers: int) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(receivers):
                nursery.start_soon(self._nursery.start, self._receive, f"receiver {number}")
        for number in range(SENDERS):
            self._nursery.start_soon(self._send, number)

    def disturb(self) -> None:
        """From now on the broker is away, or goes away: all have to register once more."""
        self.is_disturbed = True
        self._expected += 1

    async def wait_failing(self) -> None:
        """Wait until the last attempt of each sender has failed."""
        await until(lambda: len(self.introductions.uncured) == SENDERS)

    async def wait_recovered(self) -> None:
        """Wait until all receivers are there again, and each failure is cured, and for some more.

        Each receiver has registered no more often than it had to.
        """
        await until(lambda: all(map(self._is_there, self._listeners)))
        self.is_disturbed = False
        await until(lambda: not self.introductions.uncured)
        await self.wait_more()
        assert {listener.statistics().registrations for listener in self._listeners.values()} == {
            self._expected
        }

    async def wait_gone_back(self) -> None:
        """Wait until all have gone back to a broker: senders and receivers go each when it is time.

        Until then some do not find each other.
        """
        await until(lambda: all(map(self._is_there, self._listeners)))
        await self.wait_more()
        await self.wait_recovered()

    async def wait_more(self) -> None:
        """Wait until each sender has made some more introductions."""
        before = Counter(self.introductions.made)
        await until(
            lambda: all(
                self.introductions.made[number] >= before[number] + INTRODUCED
                for number in range(SENDERS)
            )
        )

    def _is_there(self, uid: str) -> bool:
        return self._listeners[uid].statistics().registrations >= self._expected

    async def _receive(self, uid: str, *, task_status: trio.TaskStatus[None]) -> None:
        async with (
            open_peer(self._brokers, techniques=DIRECT_TECHNIQUES) as peer,
            peer.listen_raw(uid) as listener,
        ):
            self._listeners[uid] = listener
            task_status.started()
            await trio.serve_listeners(echo, [listener])

    async def _send(self, number: int) -> None:
        uids = list(self._listeners)
        async with open_peer(self._brokers, techniques=DIRECT_TECHNIQUES) as peer:
            for turn in count(number):
                await self._introduce(peer, number, uids[turn * SENDERS % len(uids)])

    async def _introduce(self, peer: Peer, number: int, uid: str) -> None:
        """Have one introduction made, however often that takes."""
        while True:
            is_undisturbed = not self.is_disturbed and self._is_there(uid)
            try:
                stream = await peer.open_raw_stream(uid)
            except P2PError:
                # Unless the disturbance has begun meanwhile.
                assert not is_undisturbed or self.is_disturbed
                self.introductions.failed += 1
                self.introductions.uncured.add(number)
                await trio.sleep(PAUSE)
                continue
            async with stream:
                await stream.send_all(b"?")
                await stream.send_eof()
                assert await stream.receive_some() == b"?"
            self.introductions.made[number] += 1
            self.introductions.uncured.discard(number)
            return


class RelayedStreams:
    """Streams over the relay, on which something is said and comes back all the time.

    Args:
        nursery: of all of them.
        brokers: where the peers meet.
    """

    def __init__(self, nursery: trio.Nursery, brokers: Places) -> None:
        self._nursery = nursery
        self._brokers = brokers
        self._received = [0] * STREAMS
        self._is_over = trio.Event()
        self._whole = 0
        self._moves: list[int] = []

    async def start(self) -> None:
        for number in range(STREAMS):
            await self._nursery.start(self._carry, number)

    async def wait_more(self) -> None:
        """Wait until more has come on each than was under way."""
        before = list(self._received)
        await until(lambda: all(self._received[it] > 1e6 + before[it] for it in range(STREAMS)))

    async def end(self, *, at_least_moves: int) -> None:
        """End all of them, and make sure that each byte has come, once and in order."""
        self._is_over.set()
        await until(lambda: self._whole == STREAMS)
        assert min(self._moves) >= at_least_moves

    async def _carry(self, number: int, *, task_status: trio.TaskStatus[None]) -> None:
        async with AsyncExitStack() as stack:
            receiver, sender = [
                await stack.enter_async_context(
                    open_peer(self._brokers, techniques=[Technique.RELAY])
                )
                for _ in range(2)
            ]
            listener = await stack.enter_async_context(receiver.listen(f"relayed {number}"))
            opened = await sender.open_stream(f"relayed {number}")
            accepted = await listener.accept()
            sent, came = hashlib.sha256(), hashlib.sha256()

            async def read() -> None:
                async for data in opened:
                    came.update(data)
                    self._received[number] += len(data)

            async with opened, accepted, trio.open_nursery() as nursery:
                nursery.start_soon(echo, accepted)
                nursery.start_soon(read)
                task_status.started()
                chance = random.Random(number)
                while not self._is_over.is_set():
                    piece = chance.randbytes(PIECE_BYTES)
                    sent.update(piece)
                    await opened.send_all(piece)
                    await trio.sleep(PAUSE)
                await opened.send_eof()
            assert came.digest() == sent.digest()
            self._moves.append(opened.connection.statistics().moves)
        self._whole += 1


@asynccontextmanager
async def open_crowd(
    *brokers: BrokerProcess, receivers: int
) -> AsyncGenerator[tuple[Crowd, RelayedStreams]]:
    """Receivers, senders and relayed streams, with all of which something is going on."""
    places = [broker.address for broker in brokers]
    async with trio.open_nursery() as nursery:
        crowd, streams = Crowd(nursery, places), RelayedStreams(nursery, places)
        await crowd.start(receivers)
        await streams.start()
        await streams.wait_more()
        await crowd.wait_more()
        assert not crowd.introductions.failed
        yield crowd, streams
        nursery.cancel_scope.cancel(reason="the test is over")


@LITTLE_OR_MUCH
async def test_broker_that_is_killed_and_started_again(*, is_soak: bool) -> None:
    async with (
        open_broker_process(*GENEROUS_OPTIONS) as broker,
        open_crowd(broker, receivers=MANY_RECEIVERS if is_soak else RECEIVERS) as (crowd, streams),
    ):
        outages = MANY_OUTAGES if is_soak else OUTAGES
        for outage in outages:
            crowd.disturb()
            await broker.kill()
            await crowd.wait_failing()
            await trio.sleep(outage)
            await broker.start()
            await crowd.wait_recovered()
            await streams.wait_more()
        await streams.end(at_least_moves=len(outages))


@LITTLE_OR_MUCH
async def test_broker_that_is_drained_towards_another_one(*, is_soak: bool) -> None:
    async with (
        open_broker_process(*GENEROUS_OPTIONS) as second,
        open_broker_process(
            *GENEROUS_OPTIONS, "--drain-grace=2", f"--move-to={HOST}:{second.port}"
        ) as first,
        open_crowd(first, second, receivers=MANY_RECEIVERS if is_soak else RECEIVERS) as (
            crowd,
            streams,
        ),
    ):
        for number in range(DRAINS if is_soak else 1):
            if number:  # all go back to the broker that stands first
                crowd.disturb()
                await first.start()
                await crowd.wait_gone_back()
            crowd.disturb()
            assert await first.drain() == 0
            await crowd.wait_recovered()
            await streams.wait_more()
        await streams.end(at_least_moves=1)  # they stay at the second one
