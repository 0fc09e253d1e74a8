"""How often, and how fast, peers connect directly over ways that lose and delay packets.

In the NAT lab: a receiver behind each kind of NAT whose ports stay, and a sender behind each, all
pairs in turn. Measured from the call until the sender has its direct, encrypted stream.

Limit: see ``LIMIT``.
"""

from contextlib import ExitStack
from functools import partial
from itertools import product
from statistics import quantiles

import trio

from tests.kit.lab import (
    KINDS,
    NamespacesUnavailableError,
    UserspaceHost,
    UserspaceNetwork,
    run,
    running,
)
from trio_p2p import P2PError, P2PStream, open_peer, serve_broker, serve_p2p
from trio_p2p._lab.namespaces import enter_user_namespace_if_needed

from .tables import Table

TITLE = "Direct streams over ways of 40 ms that lose 2 % of all packets, with 10 ms of jitter"
COLUMNS = ("attempts", "direct", "%", "p50, ms", "p95, ms", "slowest, ms")
ATTEMPTS = 500
LIMIT = 0.99  # of the attempts are direct
# One way packets take from 10 to 30 ms: 20 ms ± 10 ms.
ROUND_TRIP = 0.02
JITTER = 0.02
LOSS = 0.02
PATIENCE = 30.0

Broker = tuple[str, int]


def measure() -> Table:
    kinds = [kind for kind in KINDS if not kind.startswith(("sequential", "random"))]
    try:
        enter_user_namespace_if_needed()
        with UserspaceNetwork(seed=TITLE) as network, ExitStack() as stack:
            seconds = _measure(network, stack, kinds)
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    direct = [each for each in seconds if each is not None]
    share = len(direct) / len(seconds)
    centiles = quantiles(direct, n=100)
    milliseconds = (centiles[49], centiles[94], max(direct))
    return Table(
        TITLE,
        COLUMNS,
        (
            (
                str(len(seconds)),
                str(len(direct)),
                f"{100 * share:.1f}",
                *(f"{1000 * each:.0f}" for each in milliseconds),
            ),
        ),
        (
            f"All pairs of {len(kinds)} kinds of NAT, in turn.",
            f"Limit: {100 * LIMIT:g} % direct.",
        ),
        (f"only {100 * share:.1f} % were direct",) if share < LIMIT else (),
    )


def _measure(network: UserspaceNetwork, stack: ExitStack, kinds: list[str]) -> list[float | None]:
    host = network.add_host()
    serve = partial(serve_broker, 0, host=str(host.host_address), probe_port=0)
    [listener, *_] = stack.enter_context(running(host.host, serve))
    broker = (str(host.host_address), listener.socket.getsockname()[1])
    receivers = {kind: network.add_site(KINDS[kind]) for kind in kinds}
    senders = {kind: network.add_site(KINDS[kind]) for kind in kinds}
    for kind, site in receivers.items():
        stack.enter_context(running(site.host, serve_p2p, _wait_for_end, kind, broker))
    _spoil(network, [host, *receivers.values(), *senders.values()])
    pairs = list(product(kinds, kinds))
    chosen = [pairs[number % len(pairs)] for number in range(ATTEMPTS)]
    return [run(senders[one].host, _seconds_to_open, other, broker) for one, other in chosen]


def _spoil(network: UserspaceNetwork, hosts: list[UserspaceHost]) -> None:
    for number, one in enumerate(hosts):
        for other in hosts[:number]:
            network.set_round_trip(one, other, ROUND_TRIP)
            network.set_jitter(one, other, JITTER)
            network.set_loss(one, other, LOSS)


async def _seconds_to_open(uid: str, broker: Broker) -> float | None:
    """None if there was no direct stream."""
    started_at = trio.current_time()
    try:
        with trio.fail_after(PATIENCE):
            async with (
                open_peer(broker, techniques=["fast", "classic"]) as peer,
                await peer.open_stream(uid),
            ):
                return trio.current_time() - started_at
    except (P2PError, trio.TooSlowError, trio.BrokenResourceError):
        return None


async def _wait_for_end(stream: P2PStream) -> None:
    async for _ in stream:
        pass
