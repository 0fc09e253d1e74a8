"""What small pieces cost on one stream, beside what they cost on an SSLStream.

Either many calls of ``send_all`` follow each other, with 100 bytes each, which the other process
receives as they come; or each piece is answered by another one before the next is sent. Each way
has two processes of its own, which take turns with those of the other ways.

Limits: see ``LIMITS``.
"""

from collections.abc import Sequence

import attrs

from trio_p2p._lab.namespaces import NamespacesUnavailableError

from . import request_pairs, stream_pairs
from .costs import CPU, SECONDS, Cost, Figure, compare, typical
from .places import open_loopback_without_pacing
from .stream_ways import SESSION_TINY, SSL_TINY, TINY_BYTES
from .tables import Table

TITLE = f"Pieces of {TINY_BYTES} bytes on one stream: CPU time of both sides, and wall time"
COLUMNS = ("pieces", "stream", "CPU, µs", "÷ SSLStream", "wall, µs", "÷ SSLStream")
SSL, P2P = "SSLStream", "P2PStream"
SENT, ANSWERED = "one after another", "each answered"
PIECES = 20_000
PIECES_PER_GIB = stream_pairs.GIB / TINY_BYTES
STARTS, ROUNDS = 3, 5


@attrs.frozen
class Limit:
    """How much a piece on a P2PStream may take.

    Attributes:
        pieces: how they are sent.
        of: what is compared.
        what: how that is called.
        ratio: how many times as much as on an SSLStream it may be, at most.
    """

    pieces: str
    of: Figure
    what: str
    ratio: float

    def __str__(self) -> str:
        return f"{self.pieces} {self.ratio:g} × the {self.what} of {SSL}"


LIMITS = Limit(SENT, CPU, "CPU time", 1.2), Limit(ANSWERED, SECONDS, "wall time", 1.1)


def measure() -> Table:
    try:
        place = open_loopback_without_pacing()
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    with place:
        sent = stream_pairs.measure_interleaved(
            stream_pairs.Places(place, place, request_pairs.HOST),
            (SSL_TINY, SESSION_TINY),
            PIECES * TINY_BYTES,
            ROUNDS,
            starts=STARTS,
        )
        answered = request_pairs.measure_interleaved(
            place, (request_pairs.SSL, request_pairs.P2P), ROUNDS, starts=STARTS
        )
    costs = {
        SENT: {SSL: _per_piece(sent[SSL_TINY]), P2P: _per_piece(sent[SESSION_TINY])},
        ANSWERED: {
            SSL: [cost for [cost] in answered[request_pairs.SSL]],
            P2P: [cost for [cost] in answered[request_pairs.P2P]],
        },
    }
    exceeded = [
        f"{limit.pieces}: {ratio:.2f} times the {limit.what} of {SSL}"
        for limit in LIMITS
        if (ratio := compare(costs[limit.pieces][P2P], costs[limit.pieces][SSL], limit.of))
        > limit.ratio
    ]
    return Table(
        TITLE,
        COLUMNS,
        tuple(
            (
                pieces,
                name,
                *_cells(of_stream, of_streams[SSL], CPU),
                *_cells(of_stream, of_streams[SSL], SECONDS),
            )
            for pieces, of_streams in costs.items()
            for name, of_stream in of_streams.items()
        ),
        (
            f"Medians of {STARTS} starts of {ROUNDS} interleaved rounds: {PIECES} pieces one after",
            f"another, and {request_pairs.IN_TURN_ORDER.requests} that are each answered.",
            f"Limits for {P2P}: {', '.join(map(str, LIMITS))}.",
        ),
        tuple(exceeded),
    )


def _per_piece(costs: Sequence[Cost]) -> list[Cost]:
    """The costs of each piece, from those of each GiB."""
    return [
        Cost(*(each / PIECES_PER_GIB for each in (cost.seconds, cost.sender, cost.receiver)))
        for cost in costs
    ]


def _cells(costs: Sequence[Cost], others: Sequence[Cost], of: Figure) -> tuple[str, str]:
    return f"{1e6 * typical(costs, of):.1f}", f"{compare(costs, others, of):.2f}"
