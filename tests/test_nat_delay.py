"""How long introductions take where packets do: no longer than the round trips they need."""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import attrs
import pytest
import trio

from trio_p2p import (
    Attempt,
    Outcome,
    Technique,
    open_p2p_sender,
    open_p2p_stream,
    serve_broker,
    serve_p2p,
)

from .lab import Answer, Host, Nat, Site, UserspaceNetwork, run, running

PATIENCE = 20.0  # seconds until a connection that hangs fails its test
LIMIT = 1.15  # times the round trips that are needed
REPETITIONS = 5  # whose median counts
ROUNDS = 4  # of which one has to be fast enough: machines that run tests are busy
RETRANSMISSION_TIME = 1.0  # seconds until the kernel sends a SYN again (RFC 6298)


@attrs.frozen
class Geometry:
    """Round trip times in seconds."""

    sender_to_broker: float
    receiver_to_broker: float
    sender_to_receiver: float


GEOMETRIES = {
    "all as far": Geometry(0.030, 0.030, 0.030),
    "receiver near the broker": Geometry(0.050, 0.010, 0.045),
    "receiver far from the broker": Geometry(0.020, 0.050, 0.040),
    "broker in the middle": Geometry(0.020, 0.020, 0.040),
    "broker far away": Geometry(0.050, 0.050, 0.010),
}


class Lab:
    """A broker, and a site for a sender and one for a receiver, as far apart as wanted."""

    def __init__(self, network: UserspaceNetwork, host: Host, port: int) -> None:
        self.broker = str(host.host_address), port
        self._network = network
        self._host = host
        self._sites: dict[Answer, tuple[Site, Site]] = {}

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

    @contextmanager
    def receiving(self, site: Site, *uids: str) -> Iterator[None]:
        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            async with trio.open_nursery() as nursery:
                for uid in uids:
                    await nursery.start(serve_p2p, wait_closed, uid, self.broker)
                task_status.started()

        with running(site.host, serve):
            yield


async def wait_closed(stream: trio.SocketStream) -> None:
    assert await stream.receive_some() == b""


@pytest.fixture(scope="module")
def lab(_namespaces: None) -> Iterator[Lab]:
    with UserspaceNetwork() as network:
        host = network.add_host()
        with running(host.host, serve_broker, 0) as listeners:
            yield Lab(network, host, listeners[0].socket.getsockname()[1])


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("answer", Answer)
def test_fast_introduction_takes_two_round_trips_to_the_broker_and_one_to_the_peer(
    lab: Lab, answer: Answer, geometry: Geometry
) -> None:
    receiver, sender = lab.sites(answer, geometry)
    needed = 2 * geometry.sender_to_broker + geometry.sender_to_receiver

    async def measure() -> float:
        with trio.fail_after(PATIENCE):
            started_at = trio.current_time()
            stream = await open_p2p_stream("receiver", lab.broker, techniques=["fast"])
            seconds = trio.current_time() - started_at
            await stream.aclose()
            return seconds

    ratios: list[float] = []
    with lab.receiving(receiver, "receiver"):
        for _ in range(ROUNDS):
            seconds = [run(sender.host, measure) for _ in range(REPETITIONS)]
            ratios.append(median(seconds) / needed)
            if ratios[-1] <= LIMIT:
                break
    assert min(ratios) <= LIMIT


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("answer", Answer)
def test_warm_sender_saves_a_round_trip_also_for_more_streams_to_the_same_receiver(
    lab: Lab, answer: Answer, geometry: Geometry
) -> None:
    receiver, sender = lab.sites(answer, geometry)
    needed = geometry.sender_to_broker + geometry.sender_to_receiver

    async def measure() -> list[float]:
        seconds: list[float] = []
        with trio.fail_after(PATIENCE):
            async with open_p2p_sender(lab.broker, techniques=["fast"]) as warm:
                streams = [await warm.open_stream("another receiver")]
                for _ in range(3):
                    started_at = trio.current_time()
                    streams.append(await warm.open_stream("receiver"))
                    seconds.append(trio.current_time() - started_at)
                for stream in streams:
                    await stream.aclose()
        return seconds

    ratios: list[list[float]] = []  # for the first, the second and the third stream
    with lab.receiving(receiver, "receiver", "another receiver"):
        for _ in range(ROUNDS):
            seconds = [run(sender.host, measure) for _ in range(REPETITIONS)]
            ratios.append([median(column) / needed for column in zip(*seconds, strict=True)])
            if max(ratios[-1]) <= LIMIT:
                break
    assert min(map(max, ratios)) <= LIMIT, ratios


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


@pytest.mark.parametrize("technique", Technique)
@pytest.mark.parametrize("loser", ["receiver", "sender"])
@pytest.mark.parametrize("answer", Answer)
def test_lost_first_syn_is_followed_by_another_long_before_the_kernel_repeats_it(
    lab: Lab, answer: Answer, loser: str, technique: Technique
) -> None:
    receiver, sender = lab.sites(answer, GEOMETRIES["all as far"])
    attempts: list[Attempt] = []

    async def measure() -> float:
        with trio.fail_after(PATIENCE):
            started_at = trio.current_time()
            stream = await open_p2p_stream(
                "receiver", lab.broker, techniques=[technique], on_attempt=attempts.append
            )
            seconds = trio.current_time() - started_at
            await stream.aclose()
            return seconds

    lossy = (receiver, sender) if loser == "receiver" else (sender, receiver)
    with lab.receiving(receiver, "receiver"), first_syn_lost(*lossy):
        assert run(sender.host, measure) < RETRANSMISSION_TIME
    assert len(attempts) > 1
    assert attempts[0].outcome is not Outcome.CONNECTED
    assert all(attempt.seconds < RETRANSMISSION_TIME for attempt in attempts)
