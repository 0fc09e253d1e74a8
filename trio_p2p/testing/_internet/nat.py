"""A NAT for TCP, of any behaviour: packets in, packets out.

Every packet leads to one at most: itself, translated, or what is answered to its sender. A NAT
is a hop, so it counts TTLs down, and reports those that run out.
"""

import itertools
import math
from collections.abc import Iterable
from random import Random
from typing import TypeAlias

from .behaviour import Allocation, NatBehaviour, Refusal
from .packets import (
    ACK,
    ADMIN_PROHIBITED,
    ICMP,
    PORT_UNREACHABLE,
    RST,
    SYN,
    TCP,
    TIME_EXCEEDED,
    Endpoint,
    Packet,
)
from .sessions import Mapping, Session, Side

FIRST_PORT = 1024
PORT_COUNT = 65_536 - FIRST_PORT

_Outcome: TypeAlias = tuple[Side, Packet] | None


class Nat:
    """A NAT between hosts inside and the rest outside, with one address on each side."""

    def __init__(
        self, behaviour: NatBehaviour, *, inside: bytes, outside: bytes, random: Random
    ) -> None:
        self._behaviour = behaviour
        self._inside = inside
        self._outside = outside
        self._random = random
        self._last_port = random.randrange(PORT_COUNT)
        # A port belongs to one mapping for all the remote endpoints that neither the choice of a
        # mapping nor the filter tells apart.
        self._told_apart = min(behaviour.mapping, behaviour.filtering)
        self._owners: dict[tuple[int, tuple[object, ...]], Mapping] = {}
        self._mappings: dict[tuple[Endpoint, tuple[object, ...]], Mapping] = {}
        self._from_inside: dict[tuple[Endpoint, Endpoint], Session] = {}
        self._from_outside: dict[tuple[int, Endpoint], Session] = {}
        self._next_expiry = math.inf  # no session expires before

    def forget(self) -> None:
        """Lose all mappings, as when the power fails."""
        for table in (self._owners, self._mappings, self._from_inside, self._from_outside):
            table.clear()

    def handle(self, sender: Side, packet: Packet, now: float) -> _Outcome:
        """Treat a packet that has arrived from one side; where to send which one then."""
        if now >= self._next_expiry:
            self._forget_expired(now)
        if sender is Side.OUTSIDE:
            return self._handle_from_outside(packet, now)
        return self._handle_from_inside(packet, now)

    # From inside

    def _handle_from_inside(self, packet: Packet, now: float) -> _Outcome:
        if packet.destination.address == self._inside:
            return _reply(Side.INSIDE, _closed_port(packet, self._inside))
        is_hairpin = packet.destination.address == self._outside
        if is_hairpin and not self._behaviour.hairpins:
            return self._refuse(Side.INSIDE, packet)
        if packet.ttl <= 1:
            return _reply(Side.INSIDE, packet.report(TIME_EXCEEDED, self._inside))
        if not self._translate_outwards(packet, now):
            return None
        if is_hairpin:
            return self._turn_around(packet, now)
        packet.decrement_ttl()
        return Side.OUTSIDE, packet

    def _turn_around(self, packet: Packet, now: float) -> _Outcome:
        outcome = self._handle_from_outside(packet, now)
        if outcome is not None and outcome[0] is Side.OUTSIDE:
            # An answer: it finds back to the host as answers from outside do.
            outcome = self._handle_from_outside(outcome[1], now)
        return outcome

    def _translate_outwards(self, packet: Packet, now: float) -> bool:
        if packet.protocol == ICMP:
            return self._translate_error_outwards(packet)
        if packet.protocol != TCP:
            return False
        session = self._from_inside.get((packet.source, packet.destination))
        if session is None:
            session = self._open_from_inside(packet)
        if session is None or not self._follow(session, Side.INSIDE, packet, now):
            return False
        packet.set_source(session.mapping.outside)
        return True

    def _open_from_inside(self, segment: Packet) -> Session | None:
        is_opening = segment.flags & (SYN | ACK) == SYN
        if segment.flags & RST or not (is_opening or self._behaviour.picks_up):
            return None
        remote = segment.destination
        key = segment.source, remote[: self._behaviour.mapping]
        mapping = self._mappings.get(key)
        if mapping is None:
            port = self._free_port(segment.source.port, remote)
            if port is None:
                return None
            mapping = Mapping(segment.source, Endpoint(self._outside, port), remote)
        return Session(mapping, remote)

    def _free_port(self, own_port: int, remote: Endpoint) -> int | None:
        told_apart = remote[: self._told_apart]
        for port in self._ports(own_port):
            if (port, told_apart) not in self._owners:
                return port
        return None

    def _ports(self, own_port: int) -> Iterable[int]:
        """Ports to try, in order."""
        if self._behaviour.allocation is Allocation.SEQUENTIAL:
            return (self._next_port() for _ in range(PORT_COUNT))
        ports = (FIRST_PORT + self._random.randrange(PORT_COUNT) for _ in range(PORT_COUNT))
        if self._behaviour.allocation is Allocation.PRESERVING:
            return itertools.chain([own_port], ports)
        return ports

    def _next_port(self) -> int:
        self._last_port = (self._last_port + self._behaviour.step) % PORT_COUNT
        return FIRST_PORT + self._last_port

    # From outside

    def _handle_from_outside(self, packet: Packet, now: float) -> _Outcome:
        if packet.protocol == ICMP:
            return (Side.INSIDE, packet) if self._translate_error_inwards(packet) else None
        session = self._session_from_outside(packet)
        if session is None:
            return self._refuse(Side.OUTSIDE, packet)
        if packet.ttl <= 1:
            return _reply(Side.OUTSIDE, packet.report(TIME_EXCEEDED, self._outside))
        if not self._follow(session, Side.OUTSIDE, packet, now):
            return self._refuse(Side.OUTSIDE, packet)
        packet.set_destination(session.mapping.inside)
        packet.decrement_ttl()
        return Side.INSIDE, packet

    def _session_from_outside(self, packet: Packet) -> Session | None:
        """The session that a packet belongs to, or would open."""
        if packet.protocol != TCP:
            return None
        remote, port = packet.source, packet.destination.port
        session = self._from_outside.get((port, remote))
        if session is not None or packet.flags & (SYN | ACK | RST) != SYN:
            return session
        mapping = self._owners.get((port, remote[: self._told_apart]))
        if mapping is None or not self._is_let_in(mapping, remote):
            return None
        # Two mappings of one host could lead the same two endpoints together.
        is_taken = (mapping.inside, remote) in self._from_inside
        return None if is_taken else Session(mapping, remote)

    def _is_let_in(self, mapping: Mapping, remote: Endpoint) -> bool:
        looked_at = self._behaviour.filtering
        return any(known[:looked_at] == remote[:looked_at] for known in mapping.sessions)

    def _refuse(self, sender: Side, packet: Packet) -> _Outcome:
        match self._behaviour.refusal:
            case Refusal.DROP:
                return None
            case Refusal.RST:
                return _reply(sender, packet.reset())
            case Refusal.ICMP:
                is_answerable = not packet.flags & RST
                answer = packet.report(ADMIN_PROHIBITED, packet.destination.address)
                return _reply(sender, answer if is_answerable else None)

    # ICMP errors are about packets that went the other way.

    def _translate_error_inwards(self, packet: Packet) -> bool:
        error, quote = packet.error, packet.quote()
        if error is None or quote is None:
            return False
        session = self._from_outside.get((quote.source.port, quote.destination))
        if session is None or quote.source.address != self._outside:
            return False
        quote.set_source(session.mapping.inside)
        packet.set_quote(quote)
        packet.set_destination(Endpoint(session.mapping.inside.address, 0))
        is_time_exceeded = error.type == TIME_EXCEEDED.type
        behaviour = self._behaviour
        if behaviour.closes_on_time_exceeded if is_time_exceeded else behaviour.closes_on_icmp:
            self._remove(session)
        return True

    def _translate_error_outwards(self, packet: Packet) -> bool:
        error, quote = packet.error, packet.quote()
        if error is None or quote is None:
            return False
        session = self._from_inside.get((quote.destination, quote.source))
        if session is None:
            return False
        quote.set_destination(session.mapping.outside)
        packet.set_quote(quote)
        packet.set_source(Endpoint(self._outside, 0))
        return True

    # What is remembered

    def _follow(self, session: Session, sender: Side, segment: Packet, now: float) -> bool:
        """Take note of a segment; False if it is INVALID."""
        if segment.flags & RST:
            self._remove(session)
            return True
        if not session.follow(sender, segment, self._behaviour, now):
            return False
        self._add(session)
        self._next_expiry = min(self._next_expiry, session.expires_at)
        return True

    def _add(self, session: Session) -> None:
        mapping, remote = session.mapping, session.remote
        if remote in mapping.sessions:
            return
        if not mapping.sessions:
            self._mappings[mapping.inside, mapping.made_for[: self._behaviour.mapping]] = mapping
            self._owners[mapping.outside.port, mapping.made_for[: self._told_apart]] = mapping
        mapping.sessions[remote] = session
        self._from_inside[mapping.inside, remote] = session
        self._from_outside[mapping.outside.port, remote] = session

    def _remove(self, session: Session) -> None:
        mapping, remote = session.mapping, session.remote
        del mapping.sessions[remote]
        del self._from_inside[mapping.inside, remote]
        del self._from_outside[mapping.outside.port, remote]
        if not mapping.sessions:
            del self._mappings[mapping.inside, mapping.made_for[: self._behaviour.mapping]]
            del self._owners[mapping.outside.port, mapping.made_for[: self._told_apart]]

    def _forget_expired(self, now: float) -> None:
        for session in list(self._from_inside.values()):
            if session.expires_at <= now:
                self._remove(session)
        remaining = (session.expires_at for session in self._from_inside.values())
        self._next_expiry = min(remaining, default=math.inf)


def _closed_port(packet: Packet, address: bytes) -> Packet | None:
    """What a router answers to those who talk to itself."""
    return packet.reset() if packet.protocol == TCP else packet.report(PORT_UNREACHABLE, address)


def _reply(sender: Side, answer: Packet | None) -> _Outcome:
    return None if answer is None else (sender, answer)
