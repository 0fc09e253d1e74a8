"""Direct paths that fall silent: when the next one is looked for beside a relay."""

import math

import pytest
import trio

from trio_p2p import RelayLimits
from trio_p2p._addresses import endpoint_of
from trio_p2p._connect.path_record import FIRST_REST, LASTING_TIME, MAX_REST, PathRecord
from trio_p2p._net.system import AnySocket, System, system_in_use
from trio_p2p._stream.session import Session
from trio_p2p._stream.states import SessionRole

from ..kit.streams import open_peers

SILENCE = 12.0  # seconds until it shows
SOME = 300_000  # bytes


def die(record: PathRecord, at: float, carried: int, *, lasted: float = SILENCE + 1) -> float:
    """Let a path die of silence; for how long the next one has to rest."""
    record.began(at, 0)
    record.ended(at + lasted, carried, is_silent=True)
    return record.retry_at - (at + lasted)


def test_rests_grow_while_paths_die_alike() -> None:
    record, at, rests = PathRecord(), 0.0, []
    for _ in range(6):
        rests.append(die(record, at, SOME))
        at = record.retry_at
    assert rests == [FIRST_REST, 4 * FIRST_REST, 16 * FIRST_REST, MAX_REST, MAX_REST, MAX_REST]
    # Of an hour, no more than some seconds are lost to silence.
    assert len(rests) * SILENCE < 0.04 * at


def test_path_that_carries_more_earns_its_way_back() -> None:
    record = PathRecord()
    for _ in range(3):
        die(record, max(0.0, record.retry_at), SOME)
    assert die(record, record.retry_at, 2 * SOME) == MAX_REST  # as much as it has to, not more
    assert die(record, record.retry_at, 5 * SOME) == FIRST_REST


def test_path_that_lasts_is_good_however_little_it_carries() -> None:
    record = PathRecord()
    die(record, 0.0, SOME)
    assert die(record, 100.0, 0, lasted=LASTING_TIME) == FIRST_REST


def test_other_losses_are_no_reason_to_rest() -> None:
    record = PathRecord()
    record.began(0.0, 0)
    record.ended(0.5, 0, is_silent=False)
    assert record.retry_at == -math.inf
    assert not record.is_poor


def test_good_path_that_breaks_otherwise_clears_the_record() -> None:
    record = PathRecord()
    die(record, 0.0, SOME)
    assert record.is_poor
    record.began(100.0, SOME)
    record.ended(101.0, 10 * SOME, is_silent=False)
    assert not record.is_poor


def test_end_without_a_beginning_says_nothing() -> None:
    record = PathRecord()
    record.ended(0.0, SOME, is_silent=True)
    assert not record.is_poor


class StallingSystem(System):
    """A host on which direct connections are dropped after some bytes, and nothing says so.

    Attributes:
        broker: where the relay is; connections to it go on.
        stalled: the local ports of those that have been dropped.
    """

    def __init__(self) -> None:
        self.broker = 0
        self.stalled: set[int] = set()
        self._sent: dict[int, int] = {}

    def write(self, sock: AnySocket, data: bytes | memoryview) -> int:
        local, remote = endpoint_of(sock.getsockname()), endpoint_of(sock.getpeername())
        if self.broker in (local.port, remote.port):
            return super().write(sock, data)
        sent = self._sent[local.port] = self._sent.get(local.port, 0) + len(data)
        if sent > SOME:
            self.stalled.add(local.port)
            return len(data)
        return super().write(sock, data)


async def test_stream_stays_on_the_relay_when_direct_paths_fall_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dead_at_the_sender(session: Session) -> float:
        return dead_at(session) if session.role is SessionRole.OPENER else math.inf

    monkeypatch.setattr("trio_p2p._stream.leg.BUSY_SILENCE_TIME", 0.5)
    # The system that stalls would let the receiver's end of the connection through.
    dead_at = Session.dead_at
    monkeypatch.setattr(Session, "dead_at", dead_at_the_sender)
    # So slow a relay that there is time for another direct path, if one is looked for.
    limits = RelayLimits(bytes_per_second=4 * SOME)
    system, data = StallingSystem(), bytes(10 * SOME)
    with system_in_use(system):
        async with open_peers(relay=limits) as peers, trio.open_nursery() as nursery:
            system.broker = peers.broker.port
            opened, accepted = await peers.open_pair()
            nursery.start_soon(opened.send_all, data)
            received = 0
            while received < len(data):
                received += len(await accepted.receive_some())
    assert len(system.stalled) == 1
