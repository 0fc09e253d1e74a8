"""How fast streams are over a path of 100 ms, where windows decide and not the processors.

In the NAT lab, two hosts with public addresses, each process in its host; the ways take turns.
TCP's own limit is the kernel's send buffer; a session must not be slower for its window.

Limit: see ``LIMIT``.
"""

from tests.kit.lab import NamespacesUnavailableError, UserspaceNetwork
from trio_p2p._lab.namespaces import enter_user_namespace_if_needed

from .costs import SECONDS, Cost, compare, typical
from .places import stop_pacing
from .stream_pairs import GIB, Places, measure_interleaved
from .stream_ways import SESSION, SSL, TCP
from .tables import Table

TITLE = "Throughput over a path with a round-trip time of 100 ms"
COLUMNS = ("stream", "MiB/s", "ratio")
ROUND_TRIP = 0.1
ROUND_BYTES = 2**26
ROUNDS = 7
MTU = 9000  # as the lab's router, which is written in Python, takes its time for each packet
WAYS = (TCP, SSL, SESSION)
LIMIT = 0.95  # times as fast as SSLStream; the rest is noise


def measure() -> Table:
    try:
        enter_user_namespace_if_needed()
        with UserspaceNetwork() as network:
            sender, receiver = network.add_host(), network.add_host()
            network.set_round_trip(sender, receiver, ROUND_TRIP)
            for host in (sender, receiver):
                stop_pacing(host.host)
                network.set_mtu(host, MTU)
            places = Places(sender.host, receiver.host, str(receiver.host_address))
            costs = measure_interleaved(places, WAYS, ROUND_BYTES, ROUNDS)
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    speeds = {name: compare(costs[SSL], costs[name], SECONDS) for name in WAYS}
    return Table(
        TITLE,
        COLUMNS,
        tuple((name, f"{_speed(costs[name]):.1f}", f"{speeds[name]:.2f}") for name in WAYS),
        (
            f"Medians of {ROUNDS} interleaved rounds of {ROUND_BYTES // 2**20} MiB.",
            f"Ratios: to {SSL}.",
            f"Limit for {SESSION}: at least {LIMIT:g} times as fast as {SSL}.",
        ),
        (f"{SESSION}: {speeds[SESSION]:.2f} times as fast as {SSL} only",)
        if speeds[SESSION] < LIMIT
        else (),
    )


def _speed(costs: list[Cost]) -> float:
    return GIB / 2**20 / typical(costs, SECONDS)
