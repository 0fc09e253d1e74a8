"""Streams behind real NATs: they move to better paths, and survive whatever kills one."""

import hashlib
import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import pytest
import trio

from trio_p2p import P2PStream, PathKind, StreamPath, open_p2p_stream, serve_broker, serve_p2p
from trio_p2p._addresses import Endpoint
from trio_p2p._stream import leg

from ..kit.lab import (
    Captured,
    KernelNetwork,
    Nat,
    Network,
    UserspaceNetwork,
    capturing,
    run,
    running,
    start,
)
from ..kit.lab.round_trips import round_trips
from ..kit.loopback import DIRECT_TECHNIQUES, open_stream
from ..kit.soak import LITTLE_OR_MUCH
from ..kit.streams import Content, exchange_content

pytestmark = [pytest.mark.once, pytest.mark.slow]

PATIENCE = 60.0  # seconds until something that hangs fails its test
TRIES = 5


class Lab:
    """A broker, a receiver and a sender, the latter two behind NATs."""

    def __init__(self, network: Network, stack: ExitStack, nat: Nat) -> None:
        self.host = network.add_host()
        self.receiver, self.sender = network.add_site(nat), network.add_site(nat)
        self._stack = stack
        self._numbers = itertools.count()
        self._broker = ExitStack()
        self._port = 0
        self.start_broker()

    @property
    def broker(self) -> tuple[str, int]:
        return str(self.host.host_address), self._port

    def start_broker(self) -> None:
        self._broker = self._stack.enter_context(ExitStack())
        listeners = self._broker.enter_context(running(self.host.host, serve_broker, self._port))
        self._port = listeners[0].socket.getsockname()[1]

    def stop_broker(self) -> None:
        self._broker.close()

    @contextmanager
    def serving(self, handler: Callable[[P2PStream], Any]) -> Iterator[None]:
        with running(self.receiver.host, serve_p2p, handler, "receiver", self.broker):
            yield

    @contextmanager
    def direct_paths_blocked(self, verdict: str = "drop") -> Iterator[None]:
        """Let nothing pass between the two sites but through the broker."""
        peer = self.receiver.public_address
        with self._filtered(f"ip daddr {peer} {verdict}", f"ip saddr {peer} {verdict}"):
            yield

    def kill(self, path: StreamPath, verdict: str) -> None:
        """Let nothing pass any more of one connection of the sender."""
        host, port = path.local.address, path.local.port
        self._stack.enter_context(
            self._filtered(
                f"ip saddr {host} tcp sport {port} {verdict}",
                f"ip daddr {host} tcp dport {port} {verdict}",
            )
        )

    def forget(self) -> None:
        """Let the sender's NAT forget all its mappings, as if it had been switched off."""
        router = self.sender.router
        routes = router.command("ip", "route", "show", "dev", "wan").splitlines()
        routes.sort(key=lambda route: "via" in route)  # what leads to a gateway comes first
        router.ip(
            "link set wan down",
            "link set wan up",
            *(f"route replace {route} dev wan" for route in routes),
        )

    @contextmanager
    def _filtered(self, *rules: str) -> Iterator[None]:
        table = f"filtered{next(self._numbers)}"
        body = "\n".join(rules)
        hook = "type filter hook forward priority filter - 1"
        router = self.sender.router
        router.command(
            "nft", "-f", "-", stdin=f"table ip {table} {{\nchain c {{\n{hook}\n{body}\n}}\n}}\n"
        )
        try:
            yield
        finally:
            router.command("nft", "delete", "table", "ip", table)


RESET = "meta l4proto tcp reject with tcp reset"


@contextmanager
def open_lab(network: Network, nat: Nat | None = None) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(network, stack, nat or Nat())


# From the relay to a direct path, and back

ROUND_TRIP = 0.080  # between the peers
SETTLING_TIME = 12 * ROUND_TRIP  # until there is a path in reserve
PERIOD = 0.002  # seconds from one piece to the next
PIECE_BYTES = 1000  # more than there is in other packets, once hands are shaken
HANDSHAKE_BYTES = 2500  # more than it takes, and less than with the first piece


@attrs.frozen
class Pauses:
    """The round trips in which nothing of a transfer was sent, as it moved."""

    to_direct: int
    to_relay: int


@pytest.mark.parametrize("detour", [1, 2], ids=["broker on the way", "broker aside"])
def test_transfer_that_moves_to_a_path_waits_for_one_round_trip_at_most(
    userspace_network: UserspaceNetwork, detour: int
) -> None:
    relayed_round_trip = detour * ROUND_TRIP
    with open_lab(userspace_network) as lab:
        userspace_network.set_round_trip(lab.sender, lab.receiver, ROUND_TRIP)
        for peer in (lab.sender, lab.receiver):
            userspace_network.set_round_trip(peer, lab.host, relayed_round_trip / 2)

        def moves_fast() -> bool:
            # A busy machine adds round trips, as it sends late what others wait for.
            pauses = _move_there_and_back(lab)
            return pauses.to_direct <= 1 and pauses.to_relay <= 1

        with lab.serving(_report):
            assert any(moves_fast() for _ in range(TRIES))


async def _report(stream: P2PStream) -> None:
    """At each end of a line tell the hash of all that has come."""
    received = hashlib.sha256()
    async for data in stream:
        received.update(data)
        if data.endswith(b"\n"):
            await stream.send_all(f"{received.hexdigest()}\n".encode())


class _Talk:
    """Talks to :func:`_report`."""

    def __init__(self, stream: P2PStream) -> None:
        self.kinds = [stream.path and stream.path.kind]
        self._path = stream.path
        self._stream = stream
        self._sent = hashlib.sha256()
        self._source = random.Random("talk")

    async def end_line(self) -> None:
        """End a line, all of which has to arrive."""
        await self._send(b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += await self._stream.receive_some()
        assert answer.decode().strip() == self._sent.hexdigest()

    async def talk_until(self, kind: PathKind, change: Callable[[], object]) -> None:
        """Send all the time while something changes, until the path is of a kind, and longer."""
        is_there = trio.Event()

        async def watch() -> None:
            await trio.sleep(SETTLING_TIME)
            await trio.to_thread.run_sync(change)
            while self.kinds[-1] is not kind:
                self._path = await self._stream.wait_path_changed(self._path)
                self.kinds.append(self._path and self._path.kind)
            await trio.sleep(SETTLING_TIME)
            is_there.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            while not is_there.is_set():
                await self._send(self._source.randbytes(PIECE_BYTES).replace(b"\n", b" "))
                await trio.sleep(PERIOD)
        await self.end_line()

    async def _send(self, data: bytes) -> None:
        self._sent.update(data)
        await self._stream.send_all(data)


def _move_there_and_back(lab: Lab) -> Pauses:
    """Begin a transfer on the relay, let a direct path come and go; nothing may be lost."""

    async def send() -> None:
        with trio.fail_after(PATIENCE):
            async with open_p2p_stream("receiver", lab.broker) as stream:
                talk = _Talk(stream)
                await talk.end_line()
                await talk.talk_until(PathKind.DIRECT, blockade.close)
                reset = lab.direct_paths_blocked(RESET)
                await talk.talk_until(PathKind.RELAY, lambda: blockade.enter_context(reset))
        kinds = [kind for kind in talk.kinds if kind is not None]
        assert kinds == [PathKind.RELAY, PathKind.DIRECT, PathKind.RELAY]

    with ExitStack() as blockade, capturing(lab.sender) as capture:
        blockade.enter_context(lab.direct_paths_blocked())
        sending = start(lab.sender.host, send)
        packets = capture.read_until(sending)
        sending.result()
    to_direct, to_relay = _pauses(packets)
    return Pauses(to_direct, to_relay)


def _pauses(packets: list[Captured]) -> list[int]:
    """The round trips over a path from the last piece over the one before to the first over it."""
    pieces: list[int] = []
    first_bytes: dict[tuple[Endpoint, Endpoint], int] = {}
    for index, packet in enumerate(packets):
        segment = packet.segment
        if not packet.is_outgoing or segment is None:
            continue
        if segment.is_syn:
            first_bytes[packet.flow] = segment.end
        elif segment.length >= PIECE_BYTES:
            sent_bytes = (segment.end - first_bytes[packet.flow]) % 2**32
            if sent_bytes > HANDSHAKE_BYTES:
                pieces.append(index)
    return [
        round_trips(packet for packet in packets[last:first] if packet.flow == packets[first].flow)
        for last, first in itertools.pairwise(pieces)
        if packets[last].flow != packets[first].flow
    ]


# Killed paths


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_impatient(monkeypatch)


def be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice dead paths ten times as fast, so that a test can afford some."""
    for name in ("BUSY_HEARTBEAT", "BUSY_SILENCE", "IDLE_HEARTBEAT", "IDLE_SILENCE"):
        monkeypatch.setattr(leg, f"{name}_TIME", getattr(leg, f"{name}_TIME") / 10)


def killers(lab: Lab) -> list[Callable[[StreamPath], None]]:
    """The ways in which paths die."""

    def reset(path: StreamPath) -> None:
        lab.kill(path, RESET)

    def silence(path: StreamPath) -> None:
        lab.kill(path, "drop")

    def forget(_path: StreamPath) -> None:
        lab.forget()

    def restart_broker(_path: StreamPath) -> None:
        lab.stop_broker()
        lab.start_broker()

    return [reset, silence, forget, restart_broker]


@LITTLE_OR_MUCH
def test_256_mib_each_way_arrive_although_the_path_is_killed_again_and_again(
    kernel_network: KernelNetwork, monkeypatch: pytest.MonkeyPatch, is_soak: bool
) -> None:
    if not is_soak:
        be_impatient(monkeypatch)
    kills, bytes_each_way = (30, 2**28) if is_soak else (5, 2**24)
    senders, receivers = Content(1, bytes_each_way), Content(2, bytes_each_way)
    source = random.Random(3)
    shares = sorted(source.random() for _ in range(kills))
    current: list[P2PStream] = []

    async def receive(stream: P2PStream) -> None:
        await exchange_content(stream, receivers, senders)

    async def send() -> None:
        with trio.fail_after(PATIENCE * kills):
            async with open_p2p_stream("receiver", lab.broker) as stream:
                current.append(stream)
                await exchange_content(stream, senders, receivers)

    with open_lab(kernel_network, Nat(drops_invalid=True)) as lab:
        # A NAT that has forgotten a connection shall not learn of it again from its packets.
        for site in (lab.sender, lab.receiver):
            site.router.sysctl({"netfilter/nf_conntrack_tcp_loose": 0})
        with lab.serving(receive):
            sending = start(lab.sender.host, send)
            for killer, share in zip(itertools.cycle(killers(lab)), shares, strict=False):
                while senders.share_given < share or not (current and current[0].path):
                    if sending.done():
                        sending.result()
                    time.sleep(0.001)
                path = current[0].path
                if path is not None:
                    killer(path)
            sending.result()


async def talk_until_the_path_changes(stream: P2PStream) -> None:
    before = stream.path
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await stream.wait_path_changed(before)
            nursery.cancel_scope.cancel(reason="the path has changed")

        nursery.start_soon(watch)
        while True:
            with trio.CancelScope(shield=True):
                await stream.send_all(b"x")
            await trio.sleep(0.05)


@pytest.mark.parametrize("talker", ["sender", "receiver", "nobody"])
def test_silently_dead_path_is_noticed_and_replaced(
    kernel_network: KernelNetwork, impatient: None, talker: str
) -> None:
    async def chat(stream: P2PStream) -> None:
        await stream.send_all(b"here")
        if talker == "receiver":
            await talk_until_the_path_changes(stream)
        async for data in stream:
            await stream.send_all(data)

    async def send() -> None:
        with trio.fail_after(PATIENCE):
            async with open_stream("receiver", lab.broker, techniques=DIRECT_TECHNIQUES) as stream:
                assert (await stream.receive_some()).startswith(b"here")
                before = path = stream.path
                assert before is not None
                lab.kill(before, "drop")
                if talker == "sender":
                    await talk_until_the_path_changes(stream)
                while path in (None, before):
                    path = await stream.wait_path_changed(path)
                await stream.send_all(b"!")
                while not (await stream.receive_some()).endswith(b"!"):
                    pass

    with open_lab(kernel_network) as lab, lab.serving(chat):
        run(lab.sender.host, send)
