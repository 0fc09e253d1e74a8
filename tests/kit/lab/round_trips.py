"""Round trips in a capture: what a host has waited for, one answer after the other.

TCP itself tells what answers what: a segment acknowledges all that its sender had received by then.
So how many round trips something takes is read from the packets, and no clock is looked at: on a
busy machine they come later, but they are the same.
"""

import socket
from collections.abc import Iterable, Iterator

from trio_p2p._addresses import Endpoint, IPAddress

from .capture import Captured

_MARKS_PORT = 9  # "discard" (RFC 863), on this host: nothing answers


def mark() -> None:
    """Leave a mark in the captures of the host that this is called on."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"", ("127.0.0.1", _MARKS_PORT))


def between_marks(packets: Iterable[Captured]) -> Iterator[list[Captured]]:
    """What a capture has between the first mark and the second one, third and fourth, ..."""
    between: list[Captured] | None = None
    for packet in packets:
        if is_mark(packet):
            if between is None:
                between = []
            else:
                yield between
                between = None
        elif between is not None:
            between.append(packet)


def is_mark(packet: Captured) -> bool:
    """Whether a packet is what `mark` has left."""
    return (
        packet.is_outgoing
        and packet.protocol == socket.IPPROTO_UDP
        and packet.destination.port == _MARKS_PORT
    )


def round_trips(packets: Iterable[Captured]) -> int:
    """The length of the longest chain of answers, each to what was sent after the one before.

    What answers something that was sent before the first packet does not count, nor do mere
    acknowledgements, which no program notices.
    """
    longest = 0
    before: dict[tuple[tuple[Endpoint, Endpoint], int | None], int] = {}
    for packet in packets:
        segment = packet.segment
        if segment is None:
            continue
        if not packet.is_outgoing:
            asked_after = before.get((packet.flow, segment.acknowledged))
            if asked_after is not None and segment.says_something:
                longest = max(longest, asked_after + 1)
        elif segment.says_something:
            # What is sent again is not what was answered: that was the first one.
            before.setdefault((packet.flow, segment.end), longest)
    return longest


def is_syn(packet: Captured, towards: IPAddress) -> bool:
    """Whether a packet is the first, or a repeated one, of a connection to an address."""
    return (
        packet.is_outgoing
        and packet.segment is not None
        and packet.segment.is_syn
        and packet.destination.address == towards
    )


def has_repeated_syns(packets: Iterable[Captured]) -> bool:
    """Whether a kernel has sent a SYN again, which it does after a second (RFC 6298).

    A SYN from another socket with the same port has another sequence number.
    """
    sent = [
        (packet.flow, packet.segment.sequence)
        for packet in packets
        if packet.is_outgoing and packet.segment is not None and packet.segment.is_syn
    ]
    return len(sent) != len(set(sent))
