"""Every pair of Linux NATs and firewalls connects directly, by each technique, in both roles."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from queue import SimpleQueue

import pytest
import trio

from trio_p2p import Technique, serve_broker

from ..kit.lab import Answer, KernelNetwork, Nat, NatKind, Site, run, running
from ..kit.loopback import DIRECT_TECHNIQUES, exchange, open_raw_stream, serve_raw

pytestmark = pytest.mark.once

SENDERS_DATA = random.Random("sender").randbytes(65536)
RECEIVERS_DATA = random.Random("receiver").randbytes(65536)
PATIENCE = 60.0  # seconds until a connection that hangs fails its test

Outcome = tuple[str, bytes]  # the other end's address, and all that came from there

KINDS_AND_ANSWERS = list(product(NatKind, Answer))


class Lab:
    """A broker, and for each sort of NAT a site that receives and one that sends."""

    def __init__(self, network: KernelNetwork, broker: tuple[str, int]) -> None:
        self.broker = broker
        self._network = network
        self._sites: dict[tuple[str, Nat], Site] = {}

    def receiver(self, nat: Nat) -> Site:
        return self._site("receiver", nat)

    def sender(self, nat: Nat) -> Site:
        return self._site("sender", nat)

    def _site(self, role: str, nat: Nat) -> Site:
        if (role, nat) not in self._sites:
            self._sites[role, nat] = self._network.add_site(nat)
        return self._sites[role, nat]

    @contextmanager
    def receiving(self, site: Site, technique: Technique) -> Iterator["SimpleQueue[Outcome]"]:
        """A receiver; gives a queue of what came of each connection to it."""
        outcomes: SimpleQueue[Outcome] = SimpleQueue()

        async def handle(stream: trio.SocketStream) -> None:
            address = stream.socket.getpeername()[0]
            outcomes.put((address, await exchange(stream, RECEIVERS_DATA)))

        serve = partial(serve_raw, techniques=[technique])
        with running(site.host, serve, handle, "receiver", self.broker):
            yield outcomes

    def send(self, site: Site, technique: Technique) -> Outcome:
        """What comes of one connection to the receiver from a site."""

        async def send() -> Outcome:
            with trio.fail_after(PATIENCE):
                async with await open_raw_stream(
                    "receiver", self.broker, techniques=[technique]
                ) as stream:
                    address: str = stream.socket.getpeername()[0]
                    return address, await exchange(stream, SENDERS_DATA)

        return run(site.host, send)


@pytest.fixture(scope="module")
def lab(_namespaces: None) -> Iterator[Lab]:
    with KernelNetwork() as network:
        host = network.add_host()
        with running(host.host, serve_broker, 0) as listeners:
            yield Lab(network, (str(host.host_address), listeners[0].socket.getsockname()[1]))


@pytest.mark.parametrize("technique", DIRECT_TECHNIQUES)
@pytest.mark.parametrize(("kind", "answer"), KINDS_AND_ANSWERS)
def test_receiver_connects_with_every_sender(
    lab: Lab, kind: NatKind, answer: Answer, technique: Technique
) -> None:
    receiver = lab.receiver(Nat(kind, answer))
    with lab.receiving(receiver, technique) as outcomes:
        for senders_kind, senders_answer in KINDS_AND_ANSWERS:
            sender = lab.sender(Nat(senders_kind, senders_answer))
            assert lab.send(sender, technique) == (str(receiver.public_address), RECEIVERS_DATA)
            assert outcomes.get(timeout=PATIENCE) == (str(sender.public_address), SENDERS_DATA)


@pytest.mark.parametrize("technique", DIRECT_TECHNIQUES)
@pytest.mark.parametrize("is_liberal", [False, True], ids=["strict", "liberal"])
@pytest.mark.parametrize("answer", Answer)
def test_default_nats_connect_ten_times_of_ten(
    lab: Lab, answer: Answer, technique: Technique, *, is_liberal: bool
) -> None:
    nat = Nat(NatKind.MASQUERADE, answer, is_liberal=is_liberal)
    receiver, sender = lab.receiver(nat), lab.sender(nat)
    with lab.receiving(receiver, technique) as outcomes:
        for _ in range(10):
            assert lab.send(sender, technique) == (str(receiver.public_address), RECEIVERS_DATA)
            assert outcomes.get(timeout=PATIENCE) == (str(sender.public_address), SENDERS_DATA)
