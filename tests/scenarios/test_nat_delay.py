"""What introductions wait for where packets take their time: the round trips that they need.

These are read from the packets: how long they take on a machine that is busy says nothing.
"""

import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from itertools import takewhile

import attrs
import pytest
import trio

from trio_p2p import (
    Attempt,
    Outcome,
    Technique,
    open_peer,
    serve_broker,
    serve_p2p,
)

from ..kit.lab import (
    Answer,
    Host,
    Nat,
    NatKind,
    Site,
    UserspaceNetwork,
    capturing,
    run,
    running,
)
from ..kit.lab.round_trips import between_marks, has_repeated_syns, is_syn, mark, round_trips
from ..kit.loopback import (
    DIRECT_TECHNIQUES,
    AttemptTracer,
    open_raw_stream,
    open_stream,
    serve_raw,
)

pytestmark = [pytest.mark.once, pytest.mark.slow]

PATIENCE = 60.0  # seconds until a connection that hangs fails its test
TRIES = 10


@attrs.frozen
class Geometry:
    """Round trip times in seconds."""

    sender_to_broker: float
    receiver_to_broker: float
    sender_to_receiver: float


# So long that the hole for a SYN is mostly there before it, and what nothing waits for comes later.
GEOMETRIES = {
    "all as far": Geometry(0.120, 0.120, 0.120),
    "receiver near the broker": Geometry(0.200, 0.080, 0.180),
    "receiver far from the broker": Geometry(0.080, 0.200, 0.160),
    "broker in the middle": Geometry(0.080, 0.080, 0.160),
    "broker far away": Geometry(0.200, 0.200, 0.080),
}


class Lab:
    """A broker, and a site for a sender and one for a receiver, as far apart as wanted."""

    def __init__(self, network: UserspaceNetwork, host: Host, port: int) -> None:
        self.broker = str(host.host_address), port
        self._network = network
        self._host = host
        self._sites: dict[Answer, tuple[Site, Site]] = {}
        self._numbers = itertools.count()

    def sites(self, answer: Answer, geometry: Geometry) -> tuple[Site, Site]:
        """The receiver's and the sender's."""
        if answer not in self._sites:
            nat = Nat(answer=answer)
            self._sites[answer] = self._network.add_site(nat), self._network.add_site(nat)
        receiver, sender = self._sites[answer]
        self._network.set_round_trip(sender, self._host, geometry.sender_to_broker)
        self._network.set_round_trip(receiver, self._host, geometry.receiver_to_broker)
        self._network.set_round_trip(sender, receiver, geometry.sender_to_receiver)
        return receiver, sender

    def fresh_uid(self) -> str:
        """One that no earlier test has used: its kill message may still be on the way."""
        return f"receiver {next(self._numbers)}"

    @contextmanager
    def receiving(self, site: Site, *uids: str) -> Iterator[None]:
        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            async with trio.open_nursery() as nursery:
                for uid in uids:
                    await nursery.start(serve_raw, wait_closed, uid, self.broker)
                task_status.started()

        with running(site.host, serve):
            yield


async def wait_closed(stream: trio.abc.ReceiveStream) -> None:
    assert await stream.receive_some() == b""


@pytest.fixture(scope="module")
def lab(_namespaces: None) -> Iterator[Lab]:
    with UserspaceNetwork() as network:
        host = network.add_host()
        with running(host.host, serve_broker, 0) as listeners:
            yield Lab(network, host, listeners[0].socket.getsockname()[1])


CASES = [
    *((Answer.DROP, name) for name in GEOMETRIES),
    (Answer.RST, "all as far"),
    (Answer.ICMP, "all as far"),
]


@attrs.frozen
class Waits:
    """The round trips that something waits for: those before it dials the peer, and all."""

    to_dial: int
    to_connect: int


def waits(sender: Site, receiver: Site, program: Callable[[], Awaitable[None]]) -> list[Waits]:
    """The round trips that a sender's program waits for, each time between two marks."""
    with capturing(sender) as capture:
        run(sender.host, program)
        return [
            Waits(
                round_trips(
                    takewhile(lambda each: not is_syn(each, receiver.public_address), packets)
                ),
                round_trips(packets),
            )
            for packets in between_marks(capture.read())
        ]


def needs_only(needed: Waits, measure: Callable[[], list[Waits]]) -> bool:
    """Whether something waits for no round trip more than needed.

    A machine that is too busy to punch or to go on in time adds round trips, and never takes one
    away: the fewest of some tries are those that are needed.
    """
    return any(set(measure()) == {needed} for _ in range(TRIES))


@pytest.mark.parametrize(("answer", "distances"), CASES)
def test_fast_introduction_takes_two_round_trips_to_the_broker_and_two_to_the_peer(
    lab: Lab, answer: Answer, distances: str
) -> None:
    receiver, sender = lab.sites(answer, GEOMETRIES[distances])
    uid = lab.fresh_uid()

    async def connect() -> None:
        with trio.fail_after(PATIENCE):
            mark()
            async with (
                open_peer(lab.broker, techniques=["fast"]) as peer,
                await peer.open_raw_stream(uid),
            ):
                mark()

    with lab.receiving(receiver, uid):
        # One to connect, and one until the receiver's proof is there.
        assert needs_only(Waits(2, 2 + 2), lambda: waits(sender, receiver, connect))


@pytest.mark.parametrize("distances", GEOMETRIES)
def test_encrypted_stream_takes_no_round_trip_more(lab: Lab, distances: str) -> None:
    receiver, sender = lab.sites(Answer.DROP, GEOMETRIES[distances])
    uid = lab.fresh_uid()

    async def connect() -> None:
        with trio.fail_after(PATIENCE):
            mark()
            async with open_stream(uid, lab.broker, techniques=["fast"]):
                mark()

    serve = partial(serve_p2p, wait_closed, uid, lab.broker)
    with running(receiver.host, serve):
        assert needs_only(Waits(2, 2 + 2), lambda: waits(sender, receiver, connect))


@pytest.mark.parametrize(("answer", "distances"), CASES)
@pytest.mark.parametrize("is_second", [False, True])
def test_peer_that_is_registered_already_saves_a_round_trip(
    lab: Lab, answer: Answer, distances: str, is_second: bool
) -> None:
    """For the first stream to a receiver: a second raw one needs a fresh port."""
    receiver, sender = lab.sites(answer, GEOMETRIES[distances])
    uid, own = lab.fresh_uid(), lab.fresh_uid()

    async def connect() -> None:
        with trio.fail_after(PATIENCE):
            async with (
                open_peer(lab.broker, techniques=["fast"]) as peer,
                peer.listen_raw(own),
                AsyncExitStack() as stack,
            ):
                if is_second:
                    await stack.enter_async_context(await peer.open_raw_stream(uid))
                mark()
                stream = await peer.open_raw_stream(uid)
                mark()
                await stream.aclose()

    expected = Waits(2, 2 + 2) if is_second else Waits(1, 1 + 2)
    with lab.receiving(receiver, uid):
        assert needs_only(expected, lambda: waits(sender, receiver, connect))


@pytest.mark.parametrize("answer", Answer)
def test_every_kind_connects_with_every_kind_over_delays(
    userspace_network: UserspaceNetwork, answer: Answer
) -> None:
    host = userspace_network.add_host()
    receivers, senders = (
        [userspace_network.add_site(Nat(kind, answer)) for kind in NatKind] for _ in range(2)
    )
    for site in (*receivers, *senders):
        userspace_network.set_round_trip(site, host, 0.020)
    for receiver, sender in itertools.product(receivers, senders):
        userspace_network.set_round_trip(receiver, sender, 0.030)

    async def open_each(broker: tuple[str, int]) -> None:
        for kind in NatKind:
            with trio.fail_after(PATIENCE):
                async with await open_raw_stream(kind.name, broker, techniques=["fast"]):
                    pass

    with ExitStack() as stack:
        [listener] = stack.enter_context(running(host.host, serve_broker, 0))[:1]
        broker = str(host.host_address), listener.socket.getsockname()[1]
        for kind, receiver in zip(NatKind, receivers, strict=True):
            serve = partial(serve_raw, wait_closed, kind.name, broker)
            stack.enter_context(running(receiver.host, serve))
        for sender in senders:
            run(sender.host, open_each, broker)


# Lost packets

_LOSS = """
table ip lossy {{
    chain forward {{
        type filter hook forward priority filter - 1
        oifname wan ip daddr {peer} tcp flags & (syn | ack) == syn numgen inc mod 1000000 0 drop
    }}
}}
"""


@contextmanager
def first_syn_lost(site: Site, peer: Site) -> Iterator[None]:
    """Lose the first SYN between two sites, in the router of the one that sends it."""
    site.router.command("nft", "-f", "-", stdin=_LOSS.format(peer=peer.public_address))
    try:
        yield
    finally:
        site.router.command("nft", "delete", "table", "ip", "lossy")


@pytest.mark.parametrize("technique", DIRECT_TECHNIQUES)
@pytest.mark.parametrize("loser", ["receiver", "sender"])
@pytest.mark.parametrize("answer", Answer)
def test_lost_first_syn_is_followed_by_another_long_before_the_kernel_repeats_it(
    lab: Lab, answer: Answer, loser: str, technique: Technique
) -> None:
    receiver, sender = lab.sites(answer, Geometry(0.030, 0.030, 0.030))
    uid = lab.fresh_uid()
    lossy = (receiver, sender) if loser == "receiver" else (sender, receiver)

    async def connect() -> list[Attempt]:
        tracer = AttemptTracer()
        with trio.fail_after(PATIENCE):
            await trio.aclose_forcefully(
                await open_raw_stream(uid, lab.broker, techniques=[technique], tracer=tracer)
            )
        return tracer.attempts

    def kernels_repeat_nothing() -> bool:
        with capturing(sender) as sent, capturing(receiver) as received, first_syn_lost(*lossy):
            attempts = run(sender.host, connect)
            has_repeated = has_repeated_syns(sent.read()) or has_repeated_syns(received.read())
        assert len(attempts) > 1
        assert attempts[0].outcome is not Outcome.CONNECTED
        return not has_repeated

    with lab.receiving(receiver, uid):
        assert any(kernels_repeat_nothing() for _ in range(TRIES))
