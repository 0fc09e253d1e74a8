"""How many SYNs a stranger makes us send, and how fast."""

import errno
import os
import socket
from ipaddress import ip_address
from itertools import pairwise

import pytest
import trio
import trio.testing

from trio_p2p import Endpoint, Technique
from trio_p2p._addresses import Vantage
from trio_p2p._net.system import System, system_in_use
from trio_p2p._traversal.introduction import Introduction
from trio_p2p._traversal.race import connect_introduced
from trio_p2p._traversal.shared_port import SharedPort, Strangers
from trio_p2p._traversal.strategy import Side
from trio_p2p._traversal.syn_budget import MAX_SYNS, PACE, SynBudget
from trio_p2p._wire.messages import NONCE_BYTES, SenderEndpoint
from trio_p2p._wire.offer import MAX_CANDIDATES, Candidate, CandidateKind, Nat, Offer

from ..kit.attempts import NotedAttempts
from ..kit.hostile import CERTIFICATE
from .kinds import PORT, RANDOM, SEQUENTIAL

OWN = Endpoint(ip_address("203.0.113.1"), 20_001)  # which no system gives away by itself
PEER = Endpoint(ip_address("198.51.100.2"), 40_002)
VANTAGE = Vantage(OWN.address, OWN.address, ip_address("192.0.2.1"))


@pytest.mark.parametrize(
    ("seconds", "packets"), [(0.2, 1), (0.99, 1), (1.0, 2), (3.5, 3), (7.0, 4), (100.0, 5)]
)
def test_what_the_kernel_sends_again_counts(seconds: float, packets: int) -> None:
    budget = SynBudget()
    assert budget.take(seconds)
    assert budget.left == MAX_SYNS - packets


def test_nothing_is_taken_that_is_not_there() -> None:
    budget = SynBudget(2)
    assert not budget.take(3.0)
    assert budget.take(1.0)
    assert not budget.take(0.1)


def test_repeated_ones_are_paced() -> None:
    budget = SynBudget()
    pauses = [budget.time_to_repeat(10.0) for _ in range(3)]
    assert pauses == pytest.approx([0.0, PACE, 2 * PACE])
    assert budget.time_to_repeat(20.0) == 0.0


class UnreachableSystem(System):
    """A host from which no SYN gets an answer but an error."""

    def __init__(self) -> None:
        self.sent_at: list[float] = []

    def start_connecting(self, sock: socket.socket, remote: Endpoint) -> None:  # noqa: ARG002
        self.sent_at.append(trio.current_time())
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))


@pytest.mark.parametrize("nat", [Nat(), SEQUENTIAL, RANDOM], ids=str)
async def test_introduction_sends_a_hundred_at_most(
    nat: Nat, autojump_clock: trio.testing.MockClock
) -> None:
    mapped = tuple(
        Candidate(CandidateKind.MAPPED, Endpoint(PEER.address, 5000 + number))
        for number in range(MAX_CANDIDATES)
    )
    introduction = Introduction.of(
        Technique.FAST,
        SenderEndpoint(PEER, bytes(NONCE_BYTES), CERTIFICATE, offer=Offer(nat, mapped, False)),
        Side(OWN, Offer(PORT)),
        vantage=VANTAGE,
        broker_round_trip=0.0,
    )
    shared_port = SharedPort(OWN, Strangers())
    system = UnreachableSystem()
    with system_in_use(system), trio.move_on_after(1000.0):
        await connect_introduced(shared_port, introduction, guard_hops=5, attempts=NotedAttempts())
    first = len(introduction.strategy.dials)
    assert len(set(system.sent_at[:first])) == 1  # they leave at once
    assert MAX_SYNS / 2 < len(system.sent_at) <= MAX_SYNS
    repeated = system.sent_at[first:]
    assert all(later - earlier > 0.99 * PACE for earlier, later in pairwise(repeated))
