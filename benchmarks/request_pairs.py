"""Pairs of processes, of which one makes requests and the other one answers them."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

import attrs

from trio_p2p._lab.namespaces import Namespace

from .costs import Cost, Meter
from .programs import read_line, send_line, start
from .request_programs import Order

HOST = "127.0.0.1"
AT_ONCE = 500
IN_TURN_ORDER = Order(500)
AT_ONCE_ORDER = Order(2 * AT_ONCE, AT_ONCE)


@attrs.frozen(eq=False)
class Contender:
    """A way to make requests, and how it is measured.

    Attributes:
        label: what the way is called, with the versions of packages in braces.
        module: the module with its programs.
        arguments: what the module's command line begins with.
        packages: the packages that it needs beside this one, each with the dependency group that
            names it.
        orders: what its client is told to do in each round: first requests in turn, and perhaps
            requests at once.
        remarks: how it is set up, where there is a choice.
    """

    label: str
    module: str
    arguments: tuple[str, ...] = ()
    packages: Mapping[str, str] = attrs.field(factory=dict)
    orders: tuple[Order, ...] = (IN_TURN_ORDER, AT_ONCE_ORDER)
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The label, with the versions that are installed."""
        return self.label.format(**{package: version(package) for package in self.packages})

    @property
    def why_left_out(self) -> str | None:
        """A sentence about what is missing, or None."""
        for package, group in self.packages.items():
            try:
                version(package)
            except PackageNotFoundError:
                return f"Left out: {package}; the dependency group `{group}` names it."
        return None


SSL = Contender("an open SSLStream", "ping_pongs", ("SSLStream",), orders=(IN_TURN_ORDER,))
P2P = Contender("an open P2PStream", "ping_pongs", ("P2PStream",), orders=(IN_TURN_ORDER,))
CONNECTION = Contender("trio_p2p: one connection", "peer_requests", ("one connection",))
INTRODUCTIONS = Contender(
    "trio_p2p: a connection each",
    "peer_requests",
    ("a connection each",),
    orders=(Order(20),),
    remarks=("As in 0.1. The broker runs in the server's process, and counts.",),
)
TASKS = Contender(
    "Trio's tasks alone",
    "task_requests",
    remarks=("One task for each request at either side, in one process; no byte is sent.",),
)
H2 = Contender(
    "h2 {h2}",
    "h2_requests",
    packages={"h2": "requests"},
    remarks=("On an SSLStream. The server has no task for each request.",),
)
HTTPX = Contender(
    "httpx {httpx}, hypercorn {hypercorn}",
    "http_requests",
    packages={"httpx": "requests", "h2": "requests", "hypercorn": "requests"},
    remarks=(
        "HTTP/2 over TLS on Trio, one connection, a bare ASGI application, no logs, dates and",
        "server headers. httpx has no more than 100 requests under way.",
    ),
)
IROH = Contender(
    "iroh {iroh}",
    "iroh_requests",
    packages={"iroh": "requests"},
    remarks=("Its Python binding, on asyncio; QUIC, no relay. All its threads count.",),
)
LIBP2P = Contender(
    "py-libp2p {libp2p}",
    "libp2p_requests",
    packages={"libp2p": "peers"},
    orders=(Order(100), Order(AT_ONCE, AT_ONCE)),
    remarks=("TCP, Noise and Yamux, its defaults. Each stream negotiates its protocol.",),
)
CONTENDERS = SSL, P2P, CONNECTION, INTRODUCTIONS, TASKS, H2, HTTPX, IROH, LIBP2P

Rounds: TypeAlias = list[tuple[Cost, ...]]
"""What each order cost for each request, in each round."""


class Pair:
    """The two processes of a contender.

    Args:
        stack: what ends them.
        place: where they run.
        contender: the contender.
    """

    def __init__(self, stack: ExitStack, place: Namespace, contender: Contender) -> None:
        program = f"{__package__}.{contender.module}", *contender.arguments
        server = start(stack, place, *program, "server", HOST)
        self._client = start(stack, place, *program, "client", read_line(server))
        self._orders = contender.orders
        self._meter = Meter(self._client, server)

    def run(self) -> tuple[Cost, ...]:
        """Run a round, and return what each order cost for each request."""
        return tuple(
            self._meter.measure(partial(self._give, order), order.requests)
            for order in self._orders
        )

    def _give(self, order: Order) -> None:
        send_line(self._client, str(order))
        read_line(self._client)


def measure_interleaved(
    place: Namespace, contenders: Sequence[Contender], rounds: int, *, starts: int
) -> dict[Contender, Rounds]:
    """What requests cost each contender in each round; the contenders take turns.

    Args:
        place: where they run.
        contenders: the contenders.
        rounds: how many rounds the same processes run.
        starts: how often to do it all with new processes, as some are luckier than others.
    """
    costs: dict[Contender, Rounds] = {contender: [] for contender in contenders}
    for _ in range(starts):
        with ExitStack() as stack:
            pairs = {contender: Pair(stack, place, contender) for contender in contenders}
            for pair in pairs.values():
                pair.run()  # until they are connected, and have seen it all
            for _ in range(rounds):
                for contender, pair in pairs.items():
                    costs[contender].append(pair.run())
    return costs
