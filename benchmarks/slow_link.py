"""How long requests wait beside a transfer, where the link between two hosts is a slow one.

In the NAT lab, two hosts that send 20 Mbit/s at most, each process in its host. Requests on one
stream follow each other, alone and then beside a transfer on another stream: of the same
connection, or with a connection each, which is the least that they can wait. What a request waits
for more is given in pieces: as long as the link takes for one piece of a transfer.

Limits: see ``LIMIT_PIECES`` and ``LIMIT_SPEED``.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median, quantiles

import attrs

from tests.kit.lab import Host, NamespacesUnavailableError, UserspaceNetwork
from trio_p2p._lab.namespaces import enter_user_namespace_if_needed
from trio_p2p._lab.networks import WAN
from trio_p2p._stream.frames import SLOW_PAYLOAD_BYTES

from .places import stop_pacing
from .programs import read_line, send_line, start
from .request_pairs import H2, Contender
from .slow_link_programs import TRANSFER_BYTES, Seconds
from .tables import Table

TITLE = "Requests beside a transfer, over a link of 20 Mbit/s with a round-trip time of 20 ms"
COLUMNS = ("streams", "alone, ms", "beside, ms", "99 %, ms", "pieces more", "Mbit/s", "ratio")
RATE = 20_000_000  # bits per second
ROUND_TRIP = 0.02
BURST_BYTES, QUEUE_BYTES = 5_000, 1_000_000
ROUNDS = 3
PIECE_SECONDS = 8 * SLOW_PAYLOAD_BYTES / RATE

P2P = Contender("P2PStreams, one connection", "slow_link_ways", ("one connection",))
SSL = Contender("SSLStreams, two connections", "slow_link_ways", ("two connections",))
H2_DEFAULT, H2_WIDE = (
    Contender(f"{H2.label}, windows of {kib} KiB", "slow_link_h2", (str(size),), H2.packages)
    for kib, size in ((64, 2**16 - 1), (1024, 2**20))
)
CONTENDERS = P2P, SSL, H2_DEFAULT, H2_WIDE

# The piece that is under way, half of one that the kernel holds; the rest is noise.
LIMIT_PIECES = 2
LIMIT_SPEED = 0.95  # times that of a transfer with a connection of its own


def measure() -> Table:
    contenders = [contender for contender in CONTENDERS if contender.why_left_out is None]
    try:
        enter_user_namespace_if_needed()
        with UserspaceNetwork() as network:
            client, server = network.add_host(), network.add_host()
            network.set_round_trip(client, server, ROUND_TRIP)
            for host in (client, server):
                stop_pacing(host.host)
                _slow_down(host)
            rounds = _measure_interleaved(client, server, contenders)
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    results = {contender: Result.of(each) for contender, each in rounds.items()}
    best = results[SSL]
    pieces, speed = results[P2P].pieces_more(best), results[P2P].speed / best.speed
    exceeded = []
    if pieces > LIMIT_PIECES:
        exceeded.append(f"{P2P.name}: requests wait for {pieces:.1f} pieces more")
    if speed < LIMIT_SPEED:
        exceeded.append(f"{P2P.name}: transfers are {speed:.2f} times as fast as alone only")
    return Table(
        TITLE,
        COLUMNS,
        tuple((contender.name, *result.cells(best)) for contender, result in results.items()),
        (
            f"Medians, and what 99 % are within: {ROUNDS} interleaved rounds with a transfer of",
            f"{TRANSFER_BYTES // 2**20} MiB each. Pieces: {PIECE_SECONDS:.4f} s each, at 99 %.",
            f"Pieces and ratios: beside {SSL.name}.",
            f"Limits for {P2P.name}: {LIMIT_PIECES:g} pieces more,",
            f"and {LIMIT_SPEED:g} times the speed.",
            *dict.fromkeys(filter(None, (each.why_left_out for each in CONTENDERS))),
        ),
        tuple(exceeded),
    )


@attrs.frozen
class Result:
    """What all rounds of a contender come to.

    Attributes:
        alone: the median of the requests alone, in seconds.
        beside: that of those beside a transfer.
        late: what 99 % of these are within.
        speed: that of the transfer, in bits per second.
    """

    alone: float
    beside: float
    late: float
    speed: float

    @classmethod
    def of(cls, rounds: Sequence[Seconds]) -> "Result":
        beside = [seconds for each in rounds for seconds in each.beside]
        return cls(
            median(seconds for each in rounds for seconds in each.alone),
            median(beside),
            quantiles(beside, n=100)[-1],
            8 * TRANSFER_BYTES / median(each.transfer for each in rounds),
        )

    def pieces_more(self, best: "Result") -> float:
        """For how many pieces late requests wait, beside what they wait for at best."""
        return (self.late - best.late) / PIECE_SECONDS

    def cells(self, best: "Result") -> tuple[str, ...]:
        return (
            *(f"{1e3 * each:.1f}" for each in (self.alone, self.beside, self.late)),
            f"{self.pieces_more(best):.1f}",
            f"{self.speed / 1e6:.1f}",
            f"{self.speed / best.speed:.2f}",
        )


def _slow_down(host: Host) -> None:
    shaper = f"tbf rate {RATE}bit burst {BURST_BYTES} limit {QUEUE_BYTES}"
    host.host.command("tc", "qdisc", "add", "dev", WAN, "root", *shaper.split())


def _measure_interleaved(
    client: Host, server: Host, contenders: Sequence[Contender]
) -> dict[Contender, list[Seconds]]:
    """How long everything took each contender in each round; they take turns."""
    rounds: dict[Contender, list[Seconds]] = {contender: [] for contender in contenders}
    with ExitStack() as stack:
        clients = {}
        for contender in contenders:
            program = f"{__package__}.{contender.module}", *contender.arguments
            serving = start(stack, server.host, *program, "server", str(server.host_address))
            address = read_line(serving)
            clients[contender] = start(stack, client.host, *program, "client", address)
        for _ in range(ROUNDS):
            for contender, process in clients.items():
                send_line(process)
                rounds[contender].append(Seconds(**json.loads(read_line(process))))
    return rounds
