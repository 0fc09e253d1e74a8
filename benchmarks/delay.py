"""How long an introduction takes over the delays of the internet, beside what it must take.

In the NAT lab: two sites behind masquerading routers that drop unsolicited SYNs, and a broker.
Measured from the call until the sender has its stream. With the round trips s between sender and
broker, r between receiver and broker, and d between the two, no introduction of strangers is faster
than 2s + d, and none than s + d where the sender is connected to the broker already. A raw stream
takes one more d, for the receiver's proof, and so does an encrypted one, for TLS's handshake.

The lab itself takes a little for every round trip: a bare TCP handshake with the broker, measured
beside the rest, shows how much. Limit: a stream after a fast introduction, raw or encrypted, within
1.15 times 2s + 2d, this being what it really is in the lab.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any, TypeAlias

import attrs

from tests.kit.lab import NamespacesUnavailableError, Nat, Site, UserspaceHost, UserspaceNetwork
from trio_p2p._lab.namespaces import enter_user_namespace_if_needed

from .delay_peers import ROUNDS, Name
from .programs import read_line, send_line, start
from .tables import Bars, Chart, Table

TITLE = "Milliseconds until the sender has its stream"
LIMIT = 1.15
PEERS, AS_WRITTEN_PEERS = "benchmarks.delay_peers", "benchmarks.as_written"

Pair: TypeAlias = tuple[UserspaceHost | Site, UserspaceHost | Site]
"""Sender and receiver."""


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


FAST = Way(Name.FAST, "2s + 2d", lambda g: 2 * g.s + 2 * g.d)
ENCRYPTED = Way(Name.ENCRYPTED, "2s + 2d", lambda g: 2 * g.s + 2 * g.d)
WARM = Way(Name.WARM, "s + 2d", lambda g: g.s + 2 * g.d)
CLASSIC = Way(Name.CLASSIC, "2s + 4r + 2d", lambda g: 2 * g.s + 4 * g.r + 2 * g.d)
AS_WRITTEN = Way("as written", "2s + 4r + 2d", lambda g: 2 * g.s + 4 * g.r + 2 * g.d)
WAYS = (FAST, ENCRYPTED, WARM, CLASSIC, AS_WRITTEN)
LIMITED = {FAST: 4, ENCRYPTED: 4}  # and how many round trips they take
BARE = Way(Name.BARE, "s", lambda g: g.s)


def measure() -> Table:
    columns = ["s, r, d"]
    for way in WAYS:
        columns += [way.name, f"÷ ({way.formula})"]
    columns += ["as written ÷ fast", "lab adds to a round trip"]
    columns += [f"{way.name} ÷ ({way.formula}) with that" for way in LIMITED]
    try:
        enter_user_namespace_if_needed()
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
    broker: UserspaceHost
    sites: Pair
    hosts: Pair

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
        with ExitStack() as stack:
            started = start(stack, self.broker.host, PEERS, "broker", str(self.broker.host_address))
            broker = read_line(started)
            ask = _prepare(stack, PEERS, broker, self.sites)
            seconds: dict[str, list[float]] = ask()
            ask = _prepare(stack, AS_WRITTEN_PEERS, broker, self.hosts)
            seconds[AS_WRITTEN.name] = [ask() for _ in range(ROUNDS)]
        return {way: 1000 * median(seconds[way.name]) for way in (*WAYS, BARE)}


def _prepare(stack: ExitStack, module: str, broker: str, pair: Pair) -> Callable[[], Any]:
    """Start sender and receiver; what has the sender call, and gives what it has measured."""
    sender, receiver = pair
    name = read_line(
        start(stack, receiver.host, module, "receiver", str(receiver.host_address), broker)
    )
    calling = start(stack, sender.host, module, "sender", str(sender.host_address), broker)

    def ask() -> Any:
        send_line(calling, name)
        return json.loads(read_line(calling))

    return ask
