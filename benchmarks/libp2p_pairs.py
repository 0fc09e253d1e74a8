"""Which peers this library connects directly, and how fast, beside py-libp2p's relay with DCUtR.

In the NAT lab, for ten typical pairs of NATs; both libraries take turns between the same hosts. The
receiver is registered with a broker, or has its reservation at a relay, on a public host, and is a
new one for every try: py-libp2p keeps circuits for long, and they disturb each other. Measured from
the call until the sender has an echo over a direct stream; a relayed one does not count. The sender
knows the broker's or relay's address and the receiver's name, and is connected to neither when it
calls. Both libraries encrypt, and know whom they talk to: by TLS 1.3 here, by Noise there.

py-libp2p is measured as it is, and helped: it starts DCUtR in a round that it makes every 2 s, for
which the helped sender does not wait. Receivers are there for another part of that time in every
round, since what they do by the clock is nothing that a sender could wait for.

Every part is a process of its own; what each does is in ``echo_peers``, ``libp2p_peers`` and
``libp2p_helped``.

Limit: see ``LIMIT``, beside py-libp2p as it is. Encrypted and from nothing, no echo comes before
2s + 3d (170 ms here).
"""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from statistics import median
from typing import TypeAlias

import attrs

from tests.kit.lab import KINDS, NamespacesUnavailableError, UserspaceHost, UserspaceNetwork
from trio_p2p._lab.namespaces import enter_user_namespace_if_needed

from .programs import read_line, send_line, start
from .roles import PATIENCE
from .tables import Table

TITLE = "From the call to an echo over a direct stream"
LIMIT = 10  # times as fast as py-libp2p
ROUNDS = 3
HOPELESS = 2  # tries, all of which stay relayed; DCUtR dials three times in each
BROKER_ROUND_TRIP = 0.040
PEER_ROUND_TRIP = 0.030
# Sender and receiver.
PAIRS = (
    ("public", "public"),
    ("masquerade", "public"),
    ("eim-eif", "eim-adf"),
    ("eim-apdf", "eim-apdf"),
    ("masquerade", "masquerade"),
    ("masquerade-rst", "eim-apdf-icmp"),
    ("eim-apdf-random-port", "eim-apdf"),
    ("sequential", "eim-apdf"),
    ("masquerade", "sequential-rst"),
    ("eim-apdf", "random"),
)
COLUMNS = (
    "sender → receiver",
    "py-libp2p: direct",
    "py-libp2p: ms",
    "helped: direct",
    "helped: ms",
    "trio_p2p: direct",
    "trio_p2p: ms",
    "times as fast",
    "as the helped one",
)
OURS, THEIRS = "benchmarks.echo_peers", "benchmarks.libp2p_peers"
HELPED = "benchmarks.libp2p_helped"
DCUTR_PERIOD = 2.0  # seconds
Call: TypeAlias = Callable[[float], float | None]
"""Takes how many seconds the receiver is there already."""


@attrs.frozen
class Tries:
    """How long each try took until there was an echo; None if none came."""

    seconds: list[float | None] = attrs.field(factory=list)

    def add(self, call: Call, age: float) -> None:
        """One more, unless there is no hope."""
        if self.direct or len(self.seconds) < HOPELESS:
            self.seconds.append(call(age))

    @property
    def direct(self) -> list[float]:
        return [each for each in self.seconds if each is not None]

    @property
    def typical(self) -> float | None:
        return median(self.direct) if self.direct else None

    @property
    def cells(self) -> tuple[str, str]:
        return (
            f"{len(self.direct)} of {len(self.seconds)}",
            f"{1000 * self.typical:.0f}" if self.typical else "",
        )


@attrs.frozen
class Comparison:
    """What both libraries made of a pair."""

    pair: str
    theirs: Tries = attrs.field(factory=Tries)
    helped: Tries = attrs.field(factory=Tries)
    ours: Tries = attrs.field(factory=Tries)

    @property
    def ratio(self) -> float | None:
        """How many times as fast we are; None where not both are direct."""
        return self._ratio_to(self.theirs)

    def _ratio_to(self, theirs: Tries) -> float | None:
        if theirs.typical and self.ours.typical:
            return theirs.typical / self.ours.typical
        return None

    @property
    def cells(self) -> tuple[str, ...]:
        tries = self.theirs, self.helped, self.ours
        ratios = self.ratio, self._ratio_to(self.helped)
        return (
            self.pair,
            *chain.from_iterable(each.cells for each in tries),
            *(f"{ratio:.1f}" if ratio else "" for ratio in ratios),
        )

    @property
    def exceeded(self) -> list[str]:
        sentences = []
        if None in self.ours.seconds:
            direct, _ = self.ours.cells
            sentences.append(f"{self.pair}: only {direct} tries were direct")
        if self.ratio and self.ratio < LIMIT:
            sentences.append(f"{self.pair}: only {self.ratio:.1f} times as fast as py-libp2p")
        return sentences


def measure() -> Table:
    try:
        theirs = f"py-libp2p {version('libp2p')}"
        enter_user_namespace_if_needed()
        with UserspaceNetwork(seed=TITLE) as network, ExitStack() as stack:
            compared = _compare(network, stack)
    except PackageNotFoundError:
        reason = "py-libp2p is not installed; the dependency group `peers` names it."
        return Table(TITLE, COLUMNS, (), (f"Not measured: {reason}",))
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    return Table(
        TITLE,
        tuple(column.replace("py-libp2p", theirs) for column in COLUMNS),
        tuple(comparison.cells for comparison in compared),
        (
            f"Medians of {ROUNDS} rounds, in turn. Round trips between the peers take",
            f"{1000 * PEER_ROUND_TRIP:.0f} ms, to the broker {1000 * BROKER_ROUND_TRIP:.0f} ms.",
            f"A try ends after {PATIENCE:.0f} s, a pair when its first {HOPELESS} stay relayed.",
            "What else runs on the machine adds to both; a busy one moves ratios by a tenth.",
            "py-libp2p's receiver asks for its reservation at once; the helped sender starts",
            "DCUtR at once, too, and not in the next of its rounds of 2 s.",
            f"Limits: {LIMIT} times as fast as py-libp2p where both are direct, and we are direct",
            "everywhere. No limit on what is helped.",
        ),
        tuple(chain.from_iterable(comparison.exceeded for comparison in compared)),
    )


def _compare(network: UserspaceNetwork, stack: ExitStack) -> list[Comparison]:
    public = network.add_host()
    brokers = {
        module: read_line(start(stack, public.host, module, "broker", str(public.host_address)))
        for module in (OURS, THEIRS, HELPED)
    }
    compared = []
    for kinds in PAIRS:
        sender, receiver = (network.add_site(KINDS[kind]) for kind in kinds)
        network.set_round_trip(sender, public, BROKER_ROUND_TRIP)
        network.set_round_trip(receiver, public, BROKER_ROUND_TRIP)
        network.set_round_trip(sender, receiver, PEER_ROUND_TRIP)
        with ExitStack() as pair_stack:
            calls = {
                module: _prepare(pair_stack, module, broker, sender, receiver)
                for module, broker in brokers.items()
            }
            comparison = Comparison(" → ".join(kinds))
            for number in range(ROUNDS):
                age = (number + 0.5) / ROUNDS * DCUTR_PERIOD
                comparison.theirs.add(calls[THEIRS], age)
                comparison.helped.add(calls[HELPED], age)
                comparison.ours.add(calls[OURS], age)
            compared.append(comparison)
    return compared


def _prepare(
    stack: ExitStack, module: str, broker: str, sender: UserspaceHost, receiver: UserspaceHost
) -> Call:
    """Start a sender, and have it call a new receiver each time."""
    calling = start(stack, sender.host, module, "sender", str(sender.host_address), broker)
    arguments = module, "receiver", str(receiver.host_address), broker

    def call(age: float) -> float | None:
        with ExitStack() as receiver_stack:
            name = read_line(start(receiver_stack, receiver.host, *arguments))
            time.sleep(age)
            send_line(calling, name)
            seconds: float | None = json.loads(read_line(calling))
        return seconds

    return call
