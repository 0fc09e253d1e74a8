"""What is counted of a broker's work, and that nothing of a client is kept."""

from ipaddress import ip_address

import attrs
import pytest

from trio_p2p import Endpoint, Technique
from trio_p2p._broker.counts import DURATIONS, Counts
from trio_p2p._broker.observer import Observers
from trio_p2p._wire.messages import RefusalCode, Refused, Report
from trio_p2p._wire.offer import Behaviour

SYMMETRIC = Behaviour.ADDRESS_AND_PORT_DEPENDENT


def test_everything_is_counted() -> None:
    counts = Counts()
    told = Observers(counts, counts)  # each as often as there are observers
    endpoint = Endpoint(ip_address("192.0.2.1"), 1024)
    told.registered("alice", endpoint)
    told.unregistered("alice")
    told.introduced(Technique.FAST)
    told.refused(endpoint, Refused(RefusalCode.BUSY, "later"))
    told.reported(Report(100, Technique.CLASSIC, SYMMETRIC))
    told.reported(Report(9000, None, SYMMETRIC, SYMMETRIC))
    told.relay_ended(5, 1.0)
    assert (counts.registrations, counts.circuits) == (2, 2)
    assert counts.introductions == {Technique.FAST: 2}
    assert counts.refusals == {RefusalCode.BUSY: 2}
    assert counts.outcomes == {Technique.CLASSIC: 2, None: 2}
    assert counts.found == {(SYMMETRIC, None): 2}
    assert counts.missed == {(SYMMETRIC, SYMMETRIC): 2}
    assert counts.duration == pytest.approx(0.2)
    assert "alice" not in str(counts)
    assert "192.0.2.1" not in str(counts)


@pytest.mark.parametrize(
    ("milliseconds", "index"), [(0, 0), (50, 0), (51, 1), (30_000, 8), (30_001, 9)]
)
def test_durations_have_bounds(milliseconds: int, index: int) -> None:
    counts = Counts()
    counts.reported(Report(milliseconds, Technique.FAST))
    assert counts.durations == [each == index for each in range(len(DURATIONS) + 1)]


def test_memory_is_bounded_whatever_is_reported() -> None:
    counts = Counts()
    for mapping in (None, *Behaviour):
        for peer_mapping in (None, *Behaviour):
            for technique in (None, *Technique):
                for duration in (0, 3_600_000):
                    counts.reported(Report(duration, technique, mapping, peer_mapping))
    assert (len(counts.found), len(counts.missed)) == (16, 16)
    assert {field.name for field in attrs.fields(Counts)} >= {"found", "missed"}
