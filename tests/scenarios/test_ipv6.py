"""Peers meet over IPv6: through firewalls, and where IPv4 leads nowhere or is not there."""

import logging
import random
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

import attrs
import pytest
import trio

from trio_p2p import (
    IntroductionError,
    Outcome,
    PathKind,
    Route,
    Technique,
    Tracer,
    open_p2p_stream,
    serve_broker,
    serve_p2p,
)
from trio_p2p._addresses import Endpoint, IPAddress
from trio_p2p._connect import rounds
from trio_p2p._nat import probe
from trio_p2p._nat.behaviour import guard_hops
from trio_p2p._nat.probe import near_hops
from trio_p2p._net.sockets import local_endpoint, lower_guard, start_connecting, wait_connected
from trio_p2p._wire.messages import ReceiverEndpoint, StreamKind
from trio_p2p._wire.offer import Candidate, CandidateKind, Nat as Behaviours, Offer

from ..kit.lab import Answer, Host, Nat, Site, SymmetricKind, run, running, start
from ..kit.lab.dual_stack import DualStackNetwork, FirewallAnswer, remove_ipv4, remove_ipv6
from ..kit.loopback import (
    DIRECT_TECHNIQUES,
    AttemptTracer,
    echo,
    exchange,
    open_raw_stream,
    serve_raw,
)
from ..kit.names import Names
from ..kit.raw_client import RawClient, request

pytestmark = pytest.mark.once

PORT = 4433  # the broker's, in both families; its host has all ports for itself
NAME = "broker.example"
SENDERS_DATA = random.Random("sender").randbytes(65536)
RECEIVERS_DATA = random.Random("receiver").randbytes(65536)
PATIENCE = 60.0  # seconds until a connection that hangs fails its test

HARD = Nat(SymmetricKind.RANDOM, Answer.RST)  # no IPv4 connection between two of these
EASY = Nat()
DROP, RST, ICMP = FirewallAnswer
# Seconds from a site to the internet. Without any, an ICMP error comes while the socket is busy
# connecting, which spares it. The broker is in the middle, so a SYN of the sender, told after the
# same time as the receiver or later, arrives after the error of the receiver's only if its site is
# the farther one.
DELAYS = {"near": 0.005, "receiver": 0.01, "sender": 0.02}


@attrs.frozen
class Came:
    """What came of a connection: where the other end is, and all that it said."""

    address: str
    data: bytes


@contextmanager
def logged(words: str) -> Iterator[threading.Event]:
    """Set when a peer logs such words."""
    event = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                event.set()

    logger, handler = logging.getLogger("trio_p2p"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield event
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class Lab:
    """A broker with two addresses of one name, and sites behind NATs and firewalls."""

    def __init__(self, network: DualStackNetwork) -> None:
        self.network = network
        self.broker = network.add_host()
        self.addresses = (self.broker.host_address, network.ipv6_of(self.broker))
        self._sites: dict[tuple[str, FirewallAnswer], Site] = {}

    def site(self, role: str, answer: FirewallAnswer) -> Site:
        """A peer's site that IPv4 connects with no other; always the same one."""
        if (role, answer) not in self._sites:
            site = self.network.add_dual_stack_site(HARD, answer, DELAYS[role])
            self._sites[role, answer] = site
        return self._sites[role, answer]

    def ipv6_of(self, host: Host) -> str:
        return str(self.network.ipv6_of(host))

    @contextmanager
    def receiving(
        self,
        site: Host,
        *techniques: Technique,
        names: Names | None = None,
        has_both: bool = True,
    ) -> Iterator["SimpleQueue[Came]"]:
        """A receiver of raw streams; gives a queue of what came of each connection to it.

        If it has both, it is found over IPv6, too, when the block begins.
        """
        came: SimpleQueue[Came] = SimpleQueue()

        async def handle(stream: trio.SocketStream) -> None:
            address = stream.socket.getpeername()[0]
            came.put(Came(address, await exchange(stream, RECEIVERS_DATA)))

        chosen = techniques or DIRECT_TECHNIQUES
        serve = partial(serve_raw, techniques=chosen)
        resolving = self._resolving(serve, names)
        with (
            logged("is registered over IPv6") as is_found,
            running(site.host, resolving, handle, "receiver", (NAME, PORT)),
        ):
            assert not has_both or is_found.wait(PATIENCE)
            yield came

    def send(
        self,
        site: Host,
        *techniques: Technique,
        names: Names | None = None,
        tracer: Tracer | None = None,
    ) -> Came:
        """What comes of one raw connection to the receiver from a site."""

        async def send() -> Came:
            with trio.fail_after(PATIENCE):
                async with await open_raw_stream(
                    "receiver",
                    (NAME, PORT),
                    techniques=techniques or DIRECT_TECHNIQUES,
                    tracer=tracer,
                ) as stream:
                    address: str = stream.socket.getpeername()[0]
                    return Came(address, await exchange(stream, SENDERS_DATA))

        came: Came = run(site.host, self._resolving(send, names))
        return came

    @contextmanager
    def serving_sessions(self, site: Host) -> Iterator[None]:
        serve = self._resolving(serve_p2p, None)
        with running(site.host, serve, echo, "receiver", (NAME, PORT)):
            yield

    def gets_to(self, site: Host, kind: PathKind) -> bool:
        """Whether a stream of a session comes to such a path."""

        async def open_stream() -> bool:
            with trio.move_on_after(PATIENCE):
                async with open_p2p_stream("receiver", (NAME, PORT)) as stream:
                    while stream.path is None or stream.path.kind is not kind:
                        await stream.send_all(b"?")
                        assert await stream.receive_some() == b"?"
                    return True
            return False

        return bool(run(site.host, self._resolving(open_stream, None)))

    def _resolving(
        self, async_fn: Callable[..., Awaitable[Any]], names: Names | None
    ) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **options: Any) -> Any:
            trio.socket.set_custom_hostname_resolver(names or Names(*self.addresses))
            return await async_fn(*args, **options)

        return call


@pytest.fixture(scope="module")
def lab(_namespaces: None) -> Iterator[Lab]:
    with DualStackNetwork() as network:
        lab = Lab(network)
        with running(lab.broker.host, partial(serve_broker, PORT, probe_port=PORT + 1)):
            yield lab


@pytest.fixture(autouse=True)
def long_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that a busy machine does not end before the peers have met."""
    longer = {
        technique: tuple((opening, 4 * seconds) for opening, seconds in each)
        for technique, each in rounds.ROUNDS.items()
    }
    monkeypatch.setattr(rounds, "ROUNDS", longer)


# Firewalls.


@pytest.mark.parametrize("technique", DIRECT_TECHNIQUES)
@pytest.mark.parametrize("answer", FirewallAnswer)
def test_firewalls_on_both_sides_let_peers_meet(
    lab: Lab, answer: FirewallAnswer, technique: Technique
) -> None:
    receiver = lab.site("receiver", answer)
    with lab.receiving(receiver, technique) as came:
        for senders_answer in FirewallAnswer:
            sender = lab.site("sender", senders_answer)
            assert lab.send(sender, technique) == Came(lab.ipv6_of(receiver), RECEIVERS_DATA)
            assert came.get(timeout=PATIENCE) == Came(lab.ipv6_of(sender), SENDERS_DATA)


@pytest.mark.parametrize("answer", FirewallAnswer)
def test_syn_that_comes_too_early_comes_again(lab: Lab, answer: FirewallAnswer) -> None:
    """It is not heard, as the receiver's socket is still guarded."""
    receiver, sender = lab.site("receiver", answer), lab.site("near", answer)
    with lab.receiving(receiver, Technique.FAST) as came:
        assert lab.send(sender, Technique.FAST) == Came(lab.ipv6_of(receiver), RECEIVERS_DATA)
        assert came.get(timeout=PATIENCE) == Came(lab.ipv6_of(sender), SENDERS_DATA)


def test_attempt_says_that_it_went_over_ipv6(lab: Lab) -> None:
    tracer = AttemptTracer()
    receiver, sender = lab.site("receiver", RST), lab.site("sender", RST)
    with lab.receiving(receiver, Technique.FAST):
        lab.send(sender, Technique.FAST, tracer=tracer)
    (connected,) = (each for each in tracer.attempts if each.outcome is Outcome.CONNECTED)
    assert connected.route is Route.IPV6
    assert "(ipv6): connected" in str(connected)


def test_session_leaves_the_relay_for_ipv6(lab: Lab) -> None:
    receiver, sender = lab.site("receiver", ICMP), lab.site("sender", DROP)
    with lab.serving_sessions(receiver):
        assert lab.gets_to(sender, PathKind.DIRECT)


def test_peers_that_meet_by_both_have_one_connection(lab: Lab) -> None:
    receiver, sender = (lab.network.add_dual_stack_site(EASY, DROP) for _ in range(2))
    with lab.receiving(receiver) as came:
        addresses = {str(receiver.public_address), lab.ipv6_of(receiver)}
        for _ in range(5):
            assert lab.send(sender).address in addresses
            assert came.get(timeout=PATIENCE).data == SENDERS_DATA
    assert came.empty()


# One version of IP is all that somebody has.


@pytest.mark.parametrize("technique", DIRECT_TECHNIQUES)
@pytest.mark.parametrize("lacking", [("sender",), ("receiver",), ("sender", "receiver")])
def test_peers_without_ipv4(lab: Lab, lacking: tuple[str, ...], technique: Technique) -> None:
    receiver, sender = (lab.network.add_dual_stack_site(HARD, RST) for _ in range(2))
    for role, site in (("receiver", receiver), ("sender", sender)):
        if role in lacking:
            remove_ipv4(site)
    with lab.receiving(receiver, technique, has_both="receiver" not in lacking) as came:
        assert lab.send(sender, technique) == Came(lab.ipv6_of(receiver), RECEIVERS_DATA)
        assert came.get(timeout=PATIENCE) == Came(lab.ipv6_of(sender), SENDERS_DATA)


@pytest.mark.parametrize("technique", DIRECT_TECHNIQUES)
def test_receiver_without_ipv6(lab: Lab, technique: Technique) -> None:
    receiver, sender = (lab.network.add_dual_stack_site(EASY, DROP) for _ in range(2))
    remove_ipv6(receiver)
    with lab.receiving(receiver, technique, has_both=False):
        assert lab.send(sender, technique).address == str(receiver.public_address)


def test_sender_without_ipv6(lab: Lab) -> None:
    receiver, sender = (lab.network.add_dual_stack_site(EASY, DROP) for _ in range(2))
    remove_ipv6(sender)
    with lab.receiving(receiver):
        assert lab.send(sender).address == str(receiver.public_address)


def test_peers_with_nothing_in_common_are_relayed_and_told_why(lab: Lab) -> None:
    receiver, sender = (lab.network.add_dual_stack_site(HARD, DROP) for _ in range(2))
    remove_ipv6(receiver)
    remove_ipv4(sender)
    with lab.receiving(receiver, has_both=False), pytest.raises(IntroductionError) as caught:
        lab.send(sender)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert [str(each).partition(" after")[0] for each in caught.value.__cause__.exceptions] == [
        "fast (ipv6): not introduced",
        "classic (ipv6): not introduced",
    ]
    with lab.serving_sessions(receiver):
        assert lab.gets_to(sender, PathKind.RELAY)


def test_broker_with_ipv4_only(lab: Lab) -> None:
    receiver, sender = (lab.network.add_dual_stack_site(EASY, DROP) for _ in range(2))
    names = Names(lab.addresses[0])
    with lab.receiving(receiver, names=names, has_both=False):
        assert lab.send(sender, names=names).address == str(receiver.public_address)


def test_broker_with_ipv6_only(lab: Lab) -> None:
    receiver, sender = lab.site("receiver", RST), lab.site("sender", DROP)
    names = Names(lab.addresses[1])
    with lab.receiving(receiver, names=names, has_both=False):
        assert lab.send(sender, names=names).address == lab.ipv6_of(receiver)


def test_broker_that_is_silent_over_ipv6_keeps_nobody_waiting(lab: Lab) -> None:
    receiver, sender = (lab.network.add_dual_stack_site(EASY, DROP) for _ in range(2))
    names = Names(lab.addresses[0], lab.network.ipv6_of(receiver))  # whose firewall drops it all
    with lab.receiving(receiver, has_both=False):
        assert lab.send(sender, names=names).address == str(receiver.public_address)


# The guard.


def test_traceroute_ends_at_the_first_router(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "HOP_TIME", PATIENCE)
    site = lab.site("sender", DROP)
    broker = Endpoint(lab.addresses[1], PORT)
    hops = run(site.host, near_hops, broker)
    assert hops == [lab.network.gateway_of(site)]
    assert guard_hops(hops, lab.network.ipv6_of(site)) == 2


@pytest.mark.parametrize(
    ("answer", "error"), [(RST, ConnectionRefusedError), (ICMP, PermissionError)]
)
def test_syn_without_a_guard_is_turned_away(
    lab: Lab, answer: FirewallAnswer, error: type[OSError]
) -> None:
    receiver, sender = lab.site("receiver", DROP), lab.site("sender", answer)

    async def dial() -> None:
        with start_connecting(Endpoint(lab.network.ipv6_of(sender), PORT)) as sock:
            await wait_connected(sock)

    with pytest.raises(error):
        run(receiver.host, dial)


def test_syn_that_expires_ends_its_socket_unless_it_is_guarded(lab: Lab) -> None:
    receiver, sender = lab.site("receiver", DROP), lab.site("sender", DROP)

    async def dial(*, reports: bool) -> None:
        remote = Endpoint(lab.network.ipv6_of(sender), PORT)
        with start_connecting(remote, hops=2, reports_icmp_errors=reports) as sock:
            with trio.move_on_after(PATIENCE if reports else 10 * DELAYS["receiver"]):
                await wait_connected(sock)
            lower_guard(sock)
            with trio.fail_after(DELAYS["receiver"]):
                await wait_connected(sock)

    with pytest.raises(OSError, match="No route to host"):
        run(receiver.host, partial(dial, reports=True))
    with pytest.raises(trio.TooSlowError):
        run(receiver.host, partial(dial, reports=False))


def test_guarded_socket_hears_nothing_until_the_guard_is_lowered(lab: Lab) -> None:
    receiver, sender = lab.site("receiver", RST), lab.site("near", RST)
    ends = [Endpoint(lab.network.ipv6_of(each), 4711) for each in (receiver, sender)]

    async def hold(is_held: threading.Event) -> Endpoint:
        with start_connecting(ends[1], ends[0].port, hops=2) as sock:
            is_held.set()
            with trio.move_on_after(0.2):
                await wait_connected(sock)
                raise AssertionError("it has heard the sender")
            lower_guard(sock)
            with trio.fail_after(PATIENCE):
                await wait_connected(sock)
            return local_endpoint(sock)

    async def dial() -> Endpoint:
        with start_connecting(ends[0], ends[1].port) as sock, trio.fail_after(PATIENCE):
            await wait_connected(sock)
            return local_endpoint(sock)

    is_held = threading.Event()
    held = start(receiver.host, hold, is_held)
    assert is_held.wait(PATIENCE)
    assert run(sender.host, dial) == ends[1]
    assert held.result(PATIENCE) == ends[0]


def test_peers_meet_at_the_address_that_the_broker_saw(lab: Lab) -> None:
    """Also if the system would choose another one towards the peer."""
    receiver, sender = (lab.network.add_dual_stack_site(HARD, RST) for _ in range(2))
    for site, other in ((receiver, sender), (sender, receiver)):
        more = lab.network.ipv6_of(site) + 1
        site.host.ip(
            f"address add {more}/64 dev lan nodad preferred_lft 0",
            f"route add {lab.network.ipv6_of(other)} via {lab.network.gateway_of(site)} "
            f"dev lan src {more}",
        )
    with lab.receiving(receiver) as came:
        assert lab.send(sender) == Came(lab.ipv6_of(receiver), RECEIVERS_DATA)
        assert came.get(timeout=PATIENCE) == Came(lab.ipv6_of(sender), SENDERS_DATA)


# Third parties.


@pytest.mark.parametrize("ip_version", [4, 6])
def test_no_third_party_hears_of_a_senders_claims(lab: Lab, ip_version: int) -> None:
    """The last of them is the sender's own address: when that is dialled, all others are."""
    receiver = lab.network.add_dual_stack_site(EASY, DROP)
    sender, third = lab.network.add_host(), lab.network.add_host()
    own = sender.public_address if ip_version == 4 else lab.network.ipv6_of(sender)
    addresses: list[IPAddress] = [lab.network.ipv6_of(third), third.public_address]
    claims = [
        Candidate(kind, Endpoint(address, 5000)) for kind in CandidateKind for address in addresses
    ]

    async def claim() -> None:
        broker = Endpoint(lab.addresses[0 if ip_version == 4 else 1], PORT)
        listener = (await trio.open_tcp_listeners(0, host=str(own)))[0]
        mine = Candidate(CandidateKind.MAPPED, local_endpoint(listener.socket))
        asked = attrs.evolve(
            request(0, "receiver", "fast", StreamKind.RAW),
            offer=Offer(Behaviours(), (*claims, mine)),
        )
        with trio.fail_after(PATIENCE):
            client = RawClient(await trio.open_tcp_stream(*broker.sockaddr))
            async with client, listener:
                await client.greet()
                await client.send(asked)
                await client.receive(ReceiverEndpoint)
                await (await listener.accept()).aclose()

    with lab.receiving(receiver), counted_packets(third) as count:
        run(sender.host, claim)
        assert count() == 0
        run(sender.host, partial(_dial, Endpoint(third.public_address, 5000)))
        assert count() == 1  # so it does count


async def _dial(remote: Endpoint) -> None:
    with start_connecting(remote) as sock, suppress(ConnectionRefusedError):
        await wait_connected(sock)


@contextmanager
def counted_packets(host: Host) -> Iterator[Callable[[], int]]:
    """How many TCP packets a host has got."""
    rules = """
table inet watch {
    chain in {
        type filter hook input priority filter
        meta l4proto tcp counter
    }
}
"""
    host.host.command("nft", "-f", "-", stdin=rules)

    def count() -> int:
        listed = host.host.command("nft", "list", "table", "inet", "watch")
        found = re.search(r"packets (\d+)", listed)
        assert found is not None
        return int(found[1])

    yield count
