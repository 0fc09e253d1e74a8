"""Round trips are counted by what answers what, and not by when it comes."""

import socket
from ipaddress import IPv4Address

from trio_p2p._addresses import Endpoint
from trio_p2p.testing._internet.packets import ACK, RST, SYN

from ..kit.lab import Captured
from ..kit.lab.capture import Segment
from ..kit.lab.round_trips import between_marks, has_repeated_syns, is_syn, round_trips

HERE = Endpoint(IPv4Address("192.0.2.1"), 1000)
BROKER = Endpoint(IPv4Address("198.51.100.1"), 4433)
PEER = Endpoint(IPv4Address("203.0.113.1"), 2000)
MARK = Captured(
    is_outgoing=True,
    protocol=socket.IPPROTO_UDP,
    source=HERE,
    destination=Endpoint(PEER.address, 9),
)


def out(remote: Endpoint, sequence: int, flags: int, length: int = 0) -> Captured:
    segment = Segment(sequence, None if flags == SYN else 1, flags, length)
    return Captured(True, socket.IPPROTO_TCP, HERE, remote, segment)


def came(remote: Endpoint, acknowledged: int, flags: int = ACK, length: int = 0) -> Captured:
    segment = Segment(0, acknowledged, flags, length)
    return Captured(False, socket.IPPROTO_TCP, remote, HERE, segment)


def opening(remote: Endpoint) -> list[Captured]:
    return [out(remote, 0, SYN), came(remote, 1, SYN | ACK), out(remote, 1, ACK)]


def test_what_waits_for_an_answer_takes_one_more() -> None:
    assert round_trips([]) == 0
    assert round_trips(opening(BROKER)) == 1
    asking = [out(BROKER, 1, ACK, 10), came(BROKER, 11, length=5)]
    assert round_trips([*opening(BROKER), *asking]) == 2
    assert round_trips([*opening(BROKER), *asking, *opening(PEER)]) == 3


def test_what_is_under_way_at_the_same_time_counts_once() -> None:
    one, other = opening(BROKER), opening(PEER)
    assert round_trips([one[0], other[0], one[1], other[1], one[2], other[2]]) == 1


def test_what_comes_late_answers_the_same() -> None:
    greeting = came(BROKER, 1, length=5)  # sent before the request was there
    assert round_trips([*opening(BROKER), out(BROKER, 1, ACK, 10), greeting]) == 1


def test_acknowledgements_and_repetitions_are_no_answers_of_their_own() -> None:
    request = out(BROKER, 1, ACK, 10)
    assert round_trips([*opening(BROKER), request, came(BROKER, 11)]) == 1
    repeated = [request, came(BROKER, 1, length=5), request, came(BROKER, 11, length=5)]
    assert round_trips([*opening(BROKER), *repeated]) == 2


def test_what_was_asked_before_does_not_count() -> None:
    assert round_trips(opening(BROKER)[1:]) == 0


def test_refusal_is_an_answer() -> None:
    assert round_trips([out(PEER, 0, SYN), came(PEER, 1, RST | ACK), out(PEER, 7, SYN)]) == 1


def test_between_marks() -> None:
    packets = opening(BROKER)
    assert list(between_marks([packets[0], MARK, *packets, MARK, packets[1], MARK, MARK])) == [
        packets,
        [],
    ]


def test_syns() -> None:
    packets = opening(BROKER)
    assert [is_syn(packet, BROKER.address) for packet in packets] == [True, False, False]
    assert not is_syn(packets[0], PEER.address)
    assert not has_repeated_syns([*packets, out(BROKER, 7, SYN)])
    assert has_repeated_syns([*packets, packets[0]])
