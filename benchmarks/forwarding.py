"""Requests each second through ``trio-p2p forward``, beside an introduction for each request.

A server listens on the loopback interface, and ``trio-p2p expose`` leads to it. One client dials a
port of ``trio-p2p forward`` for each request, so that all of them share one connection between the
two peers; another one has itself introduced for each request; and the floor is to dial the server.
What each request is: see ``forwarded_requests``. The rounds of the clients take turns.

Limit: see ``MIN_RATIO``.
"""

import os
import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

import attrs

from trio_p2p._lab.namespaces import Namespace, NamespacesUnavailableError

from .forwarded_requests import UID
from .places import open_loopback_without_pacing
from .programs import read_line, send_line, start
from .request_programs import Order
from .tables import Table

HOST = "127.0.0.1"
AT_ONCE = 10
ROUNDS = 7
MIN_RATIO = 3.0  # of the requests each second, through forward and with an introduction each

TITLE = "Requests to a TCP service, each on a connection of its own"
COLUMNS = (
    "requests",
    "one after another, each second",
    "÷ an introduction each",
    f"{AT_ONCE} at once, each second",
)


@attrs.frozen
class Contender:
    """A way to make requests.

    Attributes:
        label: what it is called.
        way: its name in ``forwarded_requests``.
        orders: what its client is told to do in each round: requests in turn, and perhaps at once.
    """

    label: str
    way: str
    orders: tuple[Order, ...]


DIRECT = Contender("directly", "dialled", (Order(500), Order(500, AT_ONCE)))
FORWARDED = Contender("through forward", "dialled", (Order(500), Order(500, AT_ONCE)))
# At once they would share a connection.
INTRODUCED = Contender("an introduction each", "introduced", (Order(30),))
CONTENDERS = DIRECT, FORWARDED, INTRODUCED

# All clients come from one address, and are introduced as fast as they can be.
_GENEROUS = [
    f"--limit-{name}=1000000"
    for name in ("connections", "connection-rate", "introductions", "message-rate")
]


def measure() -> Table:
    try:
        place = open_loopback_without_pacing()
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    with place, ExitStack() as stack:
        clients = _start_all(stack, place)
        rates = _measure_rates(clients)
    ratio = rates[FORWARDED][0] / rates[INTRODUCED][0]
    return Table(
        TITLE,
        COLUMNS,
        tuple(_row(contender, rates) for contender in CONTENDERS),
        (
            f"Medians of {ROUNDS} interleaved rounds.",
            f"Limit: through forward {MIN_RATIO:g} × the requests with an introduction each.",
        ),
        () if ratio >= MIN_RATIO else (f"only {ratio:.2f} × as many through forward",),
    )


def _start_all(stack: ExitStack, place: Namespace) -> dict[Contender, subprocess.Popen[str]]:
    program = f"{__package__}.forwarded_requests"
    server = read_line(start(stack, place, program, "dialled", "server", HOST))
    home = stack.enter_context(tempfile.TemporaryDirectory())
    environment = {**os.environ, "XDG_CONFIG_HOME": home}

    def start_tool(name: str, *arguments: str) -> str:
        """Start a tool; the last word of the first line that it writes."""
        argv = [str(Path(sysconfig.get_path("scripts"), name)), *arguments]

        def open_process() -> subprocess.Popen[str]:
            return subprocess.Popen(argv, stderr=subprocess.PIPE, env=environment, text=True)

        process = stack.enter_context(place.call(open_process))
        stack.callback(process.terminate)
        assert process.stderr is not None
        found = re.search(r"127\.0\.0\.1:\d+", line := process.stderr.readline())
        if found is None:
            raise RuntimeError(f"{name} has not started: {line}")
        return found[0]

    broker = start_tool("trio-p2p-broker", f"--host={HOST}", "--port=0", *_GENEROUS)
    way = [f"--broker={broker}", "--no-relay"]
    start_tool("trio-p2p", "expose", UID, server, *way)
    local = start_tool("trio-p2p", "forward", "0", UID, *way)
    addresses = {DIRECT: server, FORWARDED: local, INTRODUCED: broker}
    return {
        contender: start(stack, place, program, contender.way, "client", address)
        for contender, address in addresses.items()
    }


def _measure_rates(
    clients: Mapping[Contender, subprocess.Popen[str]],
) -> dict[Contender, list[float]]:
    """How many requests each client makes in a second, by each of its orders."""
    rounds: dict[Contender, list[list[float]]] = {each: [] for each in clients}
    for _ in range(ROUNDS + 1):
        for contender, client in clients.items():
            rounds[contender].append([_rate(client, order) for order in contender.orders])
    return {
        contender: [median(rates) for rates in zip(*measured[1:], strict=True)]
        for contender, measured in rounds.items()  # the first round is for them to get ready
    }


def _rate(client: subprocess.Popen[str], order: Order) -> float:
    begun = perf_counter()
    send_line(client, str(order))
    read_line(client)
    return order.requests / (perf_counter() - begun)


def _row(contender: Contender, rates: Mapping[Contender, list[float]]) -> tuple[str, ...]:
    in_turn, *at_once = rates[contender]
    ratio = in_turn / rates[INTRODUCED][0]
    return (
        contender.label,
        f"{in_turn:.0f}",
        f"{ratio:.1f}",
        f"{at_once[0]:.0f}" if at_once else "",
    )
