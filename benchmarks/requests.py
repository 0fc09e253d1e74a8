"""What a request and its answer cost, on a stream of their own, beside other ways to make requests.

One process asks, the other one answers, 100 bytes each, on the loopback interface; first one
request after another, then many at once. Each way has two processes of its own, which take turns
with those of the other ways. Measured is the CPU time of both processes, user and system, from the
first request of a round to the last answer; connections are there before.

The reference is one stream that stays open, with a request at a time on it: an SSLStream, and a
P2PStream. All but py-libp2p, which uses Noise, encrypt by TLS 1.3. What each way does is in
``ping_pongs``, ``peer_requests`` and the other modules that ``request_pairs`` names.

Limits: see ``LIMITS``.
"""

import math
import textwrap
from collections.abc import Mapping

import attrs

from trio_p2p._lab.namespaces import NamespacesUnavailableError

from .costs import CPU, SECONDS, Cost, Figure, compare, typical
from .places import open_loopback_without_pacing
from .request_pairs import (
    AT_ONCE,
    CONNECTION,
    CONTENDERS,
    P2P,
    SSL,
    Contender,
    Rounds,
    measure_interleaved,
)
from .request_programs import REQUEST, Order
from .tables import Bars, Chart, Table

TITLE = f"A request and its answer, {len(REQUEST)} bytes each: CPU time of both sides, wall time"
COLUMNS = (
    "requests",
    "one after another: CPU, µs",
    "÷ SSLStream",
    "÷ P2PStream",
    "wall, µs",
    f"{AT_ONCE} at once: CPU, µs",
    "÷ SSLStream, one after another",
    "wall, µs each",
)
STARTS, ROUNDS = 2, 5
IN_TURN, TOGETHER = "one after another", f"{AT_ONCE} at once"
ORDERS = IN_TURN, TOGETHER
"""What the orders of a round are called."""


@attrs.frozen
class Limit:
    """How much CPU time a request on a stream of its own may take.

    Attributes:
        order: how the requests are made.
        other: what it is compared with: requests in turn on this.
        ratio: how many times as much CPU time it may take, at most.
    """

    order: str
    other: Contender
    ratio: float

    def __str__(self) -> str:
        return f"{self.order} {self.ratio:g} × {self.other.label}"


LIMITS = Limit(IN_TURN, P2P, 1.6), Limit(IN_TURN, SSL, 2.0), Limit(TOGETHER, SSL, 0.3)


def measure() -> Table:
    present = [each for each in CONTENDERS if each.why_left_out is None]
    try:
        place = open_loopback_without_pacing()
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    with place:
        rounds = measure_interleaved(place, present, ROUNDS, starts=STARTS)
    return Table(
        TITLE,
        COLUMNS,
        tuple(_row(contender, rounds) for contender in present),
        (
            f"Medians of {STARTS * ROUNDS} interleaved rounds, of {STARTS} starts.",
            *map(_describe, present),
            f"Limits for {CONNECTION.label}: {', '.join(map(str, LIMITS))}.",
            *(each.why_left_out for each in CONTENDERS if each.why_left_out is not None),
        ),
        tuple(_exceeded(rounds)),
        _chart(rounds),
    )


def _describe(contender: Contender) -> str:
    counts = " and ".join(map(_count, contender.orders))
    return "\n  ".join([f"{contender.name}: {counts} in a round.", *contender.remarks])


def _count(order: Order) -> str:
    if order.at_once == 1:
        return f"{order.requests} one after another"
    return f"{order.requests // order.at_once} × {order.at_once} at once"


def _costs(rounds: Rounds, order: str) -> list[Cost]:
    """What requests that are made in this way cost; nothing if none are."""
    number = ORDERS.index(order)
    return [each[number] for each in rounds if number < len(each)]


def _row(contender: Contender, rounds: Mapping[Contender, Rounds]) -> tuple[str, ...]:
    in_turn, together = (_costs(rounds[contender], order) for order in ORDERS)
    ssl, p2p = (_costs(rounds[each], IN_TURN) for each in (SSL, P2P))
    return (
        contender.name,
        _microseconds(in_turn, CPU),
        f"{compare(in_turn, ssl, CPU):.2f}",
        f"{compare(in_turn, p2p, CPU):.2f}",
        _microseconds(in_turn, SECONDS),
        *(
            (
                _microseconds(together, CPU),
                f"{compare(together, ssl, CPU):.2f}",
                _microseconds(together, SECONDS),
            )
            if together
            else ("", "", "")
        ),
    )


def _microseconds(costs: list[Cost], of: Figure) -> str:
    return f"{1e6 * typical(costs, of):.0f}"


def _exceeded(rounds: Mapping[Contender, Rounds]) -> list[str]:
    exceeded = []
    for limit in LIMITS:
        ours = _costs(rounds[CONNECTION], limit.order)
        ratio = compare(ours, _costs(rounds[limit.other], IN_TURN), CPU)
        if ratio > limit.ratio:
            exceeded.append(f"{limit.order}: {ratio:.2f} times the CPU time of {limit.other.label}")
    return exceeded


def _chart(rounds: Mapping[Contender, Rounds]) -> Chart:
    bars = tuple(
        Bars(order, tuple(_bar(_costs(each, order)) for each in rounds.values()))
        for order in ORDERS
    )
    groups = tuple(textwrap.fill(contender.name, 13) for contender in rounds)
    return Chart(groups, "requests", "CPU time of both sides, µs", bars, is_logarithmic=True)


def _bar(costs: list[Cost]) -> float:
    return 1e6 * typical(costs, CPU) if costs else math.nan
