"""How long an introduction takes over the delays of the internet, beside what it must take.

In the NAT lab: two sites behind masquerading routers that drop unsolicited SYNs, and a broker.
Measured from the call until the sender has its stream, and may send. With the round trips s between
sender and broker, r between receiver and broker, and d between the two, no introduction of
strangers is faster than 2s + d, and none than s + d where the sender is connected to the broker
already. Encryption takes one more d: TLS's handshake.

The lab itself takes a little for every round trip: a bare TCP handshake with the broker, measured
beside the rest, shows how much. Limits: the fast introduction within 1.15 times 2s + d, and an
encrypted stream after it within 1.15 times 2s + 2d, these being what they really are in the lab.
"""

import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from statistics import median

import attrs
import trio

from tests.lab import (
    Host,
    NamespacesUnavailableError,
    Nat,
    UserspaceNetwork,
    run,
    running,
)
from trio_p2p import open_p2p_sender, open_p2p_stream, serve_broker, serve_p2p
from trio_p2p._endpoint import Endpoint, endpoint_of
from trio_p2p._lab.namespaces import enter_user_namespace_if_needed

from . import as_written
from .tables import Bars, Chart, Table

TITLE = "Milliseconds until the sender has its stream"
LIMIT = 1.15
ROUNDS = 7
SWITCH_SECONDS = 0.0002  # the lab's programs are threads of one process; on hosts they are not

# A kept connection to the broker serves each UID once, so every round has its own.
UIDS = [f"receiver {number}" for number in range(ROUNDS + 1)]
ENCRYPTED_UID = "encrypted"


@attrs.frozen
class Geometry:
    """Round-trip times in milliseconds."""

    s: int
    r: int
    d: int

    def __str__(self) -> str:
        return f"{self.s}, {self.r}, {self.d}"


GEOMETRIES = (
    Geometry(10, 10, 10),
    Geometry(30, 30, 30),
    Geometry(50, 50, 50),
    Geometry(10, 40, 50),  # the broker is on the way, and the sender's neighbour
    Geometry(40, 10, 50),  # the receiver's
    Geometry(40, 50, 20),  # far from both
)


@attrs.frozen
class Way:
    """One way to be introduced.

    Attributes:
        formula: what it takes at least, in words.
        floor: the same in milliseconds.
    """

    name: str
    formula: str
    floor: Callable[[Geometry], int]


FAST = Way("fast", "2s + d", lambda g: 2 * g.s + g.d)
ENCRYPTED = Way("fast, encrypted", "2s + 2d", lambda g: 2 * g.s + 2 * g.d)
WARM = Way("fast, broker connection kept", "s + d", lambda g: g.s + g.d)
CLASSIC = Way("classic", "2s + 4r + d", lambda g: 2 * g.s + 4 * g.r + g.d)
AS_WRITTEN = Way("as written", "2s + 4r + 2d", lambda g: 2 * g.s + 4 * g.r + 2 * g.d)
WAYS = (FAST, ENCRYPTED, WARM, CLASSIC, AS_WRITTEN)
LIMITED = {FAST: 3, ENCRYPTED: 4}  # and how many round trips they take
BARE = Way("bare TCP handshake with the broker", "s", lambda g: g.s)


def measure() -> Table:
    columns = ["s, r, d"]
    for way in WAYS:
        columns += [way.name, f"÷ ({way.formula})"]
    columns += ["as written ÷ fast", "lab adds to a round trip"]
    columns += [f"{way.name} ÷ ({way.formula}) with that" for way in LIMITED]
    try:
        enter_user_namespace_if_needed()
        sys.setswitchinterval(SWITCH_SECONDS)
        with UserspaceNetwork() as network:
            lab = Lab.build(network)
            measured = [lab.measure(geometry) for geometry in GEOMETRIES]
    except NamespacesUnavailableError as error:
        return Table(TITLE, tuple(columns), (), (f"Not measured: {error}",))
    return Table(
        TITLE,
        tuple(columns),
        tuple(map(_row, GEOMETRIES, measured)),
        (
            f"Medians of {ROUNDS} rounds; times in ms. Floors are computed, all else is measured.",
            f"Limit of the last columns: {LIMIT:g}.",
            'The twelve steps "as written" never connect behind these NATs. They were measured',
            "between public hosts, where their punch fails after d; a punch into silence would",
            "fail when the receiver's patience ends, after a second or more.",
        ),
        tuple(
            f"{way.name} took {times[way]:.1f} ms with s, r, d = {geometry}"
            for geometry, times in zip(GEOMETRIES, measured, strict=True)
            for way in LIMITED
            if _ratio_in_lab(way, geometry, times) > LIMIT
        ),
        _chart(measured),
    )


def _row(geometry: Geometry, times: dict[Way, float]) -> tuple[str, ...]:
    cells = [str(geometry)]
    for way in WAYS:
        cells += [f"{times[way]:.1f}", f"{times[way] / way.floor(geometry):.2f}"]
    return (
        *cells,
        f"{times[AS_WRITTEN] / times[FAST]:.1f}",
        f"{_added_by_lab(geometry, times):.1f}",
        *(f"{_ratio_in_lab(way, geometry, times):.2f}" for way in LIMITED),
    )


def _added_by_lab(geometry: Geometry, times: dict[Way, float]) -> float:
    return times[BARE] - BARE.floor(geometry)


def _ratio_in_lab(way: Way, geometry: Geometry, times: dict[Way, float]) -> float:
    return times[way] / (way.floor(geometry) + LIMITED[way] * _added_by_lab(geometry, times))


def _chart(measured: Sequence[dict[Way, float]]) -> Chart:
    return Chart(
        tuple(map(str, GEOMETRIES)),
        "round trips s, r, d in ms",
        "ms until the sender has its stream",
        tuple(
            Bars(
                way.name,
                tuple(times[way] for times in measured),
                tuple(map(way.floor, GEOMETRIES)),
            )
            for way in WAYS
        ),
    )


@attrs.frozen
class Lab:
    """Hosts and sites, of which the broker and one pair at a time are used."""

    network: UserspaceNetwork
    broker: Host
    sites: tuple[Host, Host]
    hosts: tuple[Host, Host]

    @classmethod
    def build(cls, network: UserspaceNetwork) -> "Lab":
        return cls(
            network,
            network.add_host(),
            (network.add_site(Nat()), network.add_site(Nat())),
            (network.add_host(), network.add_host()),
        )

    def measure(self, geometry: Geometry) -> dict[Way, float]:
        """Milliseconds for each way."""
        for sender, receiver in (self.sites, self.hosts):
            self.network.set_round_trip(sender, self.broker, geometry.s / 1000)
            self.network.set_round_trip(receiver, self.broker, geometry.r / 1000)
            self.network.set_round_trip(sender, receiver, geometry.d / 1000)
        serve = partial(serve_broker, 0, host=str(self.broker.host_address))
        with running(self.broker.host, serve) as [listener]:
            broker = endpoint_of(listener.socket.getsockname())
            seconds = self._seconds_between_sites(broker)
            seconds[AS_WRITTEN] = self._seconds_between_hosts(broker)
        return {way: 1000 * median(times) for way, times in seconds.items()}

    def _seconds_between_sites(self, broker: Endpoint) -> dict[Way, list[float]]:
        sender, receiver = self.sites
        with running(receiver.host, _receive, broker.sockaddr):
            return run(sender.host, _seconds_to_open, broker.sockaddr)

    def _seconds_between_hosts(self, broker: Endpoint) -> list[float]:
        sender, receiver = self.hosts
        with running(receiver.host, as_written.receive, broker):
            return [run(sender.host, as_written.seconds_to_connect, broker) for _ in range(ROUNDS)]


async def _receive(
    broker: tuple[str, int], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async def greet(stream: trio.abc.SendStream) -> None:
        await stream.send_all(b"!")

    async with trio.open_nursery() as nursery:
        for uid in UIDS:
            await nursery.start(partial(serve_p2p, greet, uid, broker, raw=True))
        await nursery.start(partial(serve_p2p, greet, ENCRYPTED_UID, broker))
        task_status.started()


async def _seconds_to_open(broker: tuple[str, int]) -> dict[Way, list[float]]:
    seconds: dict[Way, list[float]] = {BARE: [], FAST: [], ENCRYPTED: [], WARM: [], CLASSIC: []}

    async def time(way: Way, opening: AbstractAsyncContextManager[trio.abc.ReceiveStream]) -> None:
        started_at = trio.current_time()
        async with opening as stream:
            seconds[way].append(trio.current_time() - started_at)
            assert await stream.receive_some(1) == b"!"

    @asynccontextmanager
    async def open_warm(uid: str) -> AsyncGenerator[trio.SocketStream]:
        async with await sender.open_stream(uid, raw=True) as stream:
            yield stream

    async def time_bare() -> None:
        started_at = trio.current_time()
        async with await trio.open_tcp_stream(*broker):
            seconds[BARE].append(trio.current_time() - started_at)

    def open_raw(uid: str, technique: str) -> AbstractAsyncContextManager[trio.SocketStream]:
        return open_p2p_stream(uid, broker, raw=True, techniques=[technique])

    first, *others = UIDS
    async with open_p2p_sender(broker, techniques=["fast"]) as sender:
        await trio.aclose_forcefully(await sender.open_stream(first, raw=True))
        for uid in others:
            await time_bare()
            await time(FAST, open_raw(uid, "fast"))
            await time(ENCRYPTED, open_p2p_stream(ENCRYPTED_UID, broker, techniques=["fast"]))
            await time(WARM, open_warm(uid))
            await time(CLASSIC, open_raw(uid, "classic"))
    return seconds
