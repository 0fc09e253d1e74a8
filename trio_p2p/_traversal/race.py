"""What both peers do once they are introduced: punch and accept, check, and keep one connection."""

from __future__ import annotations

import hmac
import random
from collections.abc import Callable
from functools import partial

import trio

from .._addresses import Endpoint
from .._attempt import Attempt, Outcome, Route
from .._net.sockets import local_endpoint, receive_exactly, remote_endpoint, send_at_once
from .._peer_connection import OnAttempt, PeerConnection
from .check import PROOF_BYTES, QUESTION, Role, proofs
from .checked_socket import CheckedSocket
from .introduction import Introduction
from .nomination import Nomination
from .port_guessing import guess, hold
from .punch import Take, punch, take_syns
from .punch_schedule import PunchSchedule
from .shared_port import PROOF_TIME, SharedPort
from .strategy import Dial, PortGuessing, reflexive_route
from .syn_budget import SynBudget


async def connect_introduced(
    shared_port: SharedPort,
    introduction: Introduction,
    *,
    guard_hops: int,
    on_attempt: OnAttempt,
    on_punched: Callable[[], None] = lambda: None,
    nomination: Nomination | None = None,
) -> PeerConnection:
    """The connection to the introduced peer, however long it takes.

    Dials and accepts at once; the first connection that leads to the peer wins.

    Args:
        shared_port: the local port that the peer was told of.
        introduction: whom to connect to.
        guard_hops: how many hops lead beyond our own NATs; matters to the receiver only.
        on_attempt: told of each attempt when it has ended.
        on_punched: called when the first SYN has left, or could not.
        nomination: a sender's, which other introductions share.

    If cancelled, every connection that was under way is closed.
    """
    race = Race(introduction, on_attempt, nomination or Nomination())
    race.refuse_forbidden()
    try:
        with (
            shared_port.expecting(introduction.peer.endpoint) as unproven,
            shared_port.expecting(race.proofs.peers) as proven,
            shared_port.expecting(race.proofs.check) as checked,
        ):
            async with trio.open_nursery() as nursery:
                race.scope = nursery.cancel_scope
                nursery.start_soon(race.accept, unproven, race.take_unproven)
                nursery.start_soon(race.accept, proven, race.take_proven)
                nursery.start_soon(race.accept, checked, race.take_checked)
                await race.start(shared_port, guard_hops, nursery)
                on_punched()
    except BaseException:
        race.close()
        raise
    return race.connection()


class Race:
    """Many connections for one introduction, of which one wins."""

    scope: trio.CancelScope

    def __init__(
        self, introduction: Introduction, on_attempt: OnAttempt, nomination: Nomination
    ) -> None:
        self.proofs = proofs(introduction.nonce, introduction.role)
        self._introduction = introduction
        self._on_attempt = on_attempt
        self._nomination = nomination
        self._started_at = trio.current_time()
        self._winner: trio.socket.SocketType | None = None

    def connection(self) -> PeerConnection:
        """The winner."""
        assert self._winner is not None
        introduction = self._introduction
        return PeerConnection(
            trio.SocketStream(self._winner), introduction.technique, introduction.certificate
        )

    def close(self) -> None:
        """Close the winner, if there is one: nobody is going to have it."""
        if self._winner is not None:
            self._winner.close()
            self._nomination.withdraw()

    def refuse_forbidden(self) -> None:
        """Tell where we do not connect to, although the peer or the broker wants us to."""
        for route, endpoint in self._introduction.forbidden:
            self._record(route, None, endpoint, Outcome.FORBIDDEN, 0.0)

    async def start(self, shared_port: SharedPort, guard_hops: int, nursery: trio.Nursery) -> None:
        """Start all that may lead to the peer; the first SYNs have left in their order."""
        introduction, budget = self._introduction, SynBudget()
        dials = introduction.strategy.dials
        schedules = [self._schedule(dial, guard_hops) for dial in dials]
        for dial, schedule in zip(dials, schedules, strict=True):
            take_syns(dial.remote, schedule, budget)  # those that leave at once
        for dial, schedule in zip(dials, schedules, strict=True):
            take = self.take_unproven if dial.is_told else self._take_asked
            record = partial(self._record, dial.route)
            await nursery.start(
                partial(
                    punch,
                    shared_port.port,
                    dial.remote,
                    schedule,
                    budget,
                    source=shared_port.source_towards(dial.remote) if dial.is_told else None,
                    take=take,
                    record=record,
                )
            )
        if introduction.strategy.port_guessing is not None:
            nursery.start_soon(
                self._guess, shared_port.port, guard_hops, introduction.strategy.port_guessing
            )

    def _schedule(self, dial: Dial, guard_hops: int) -> PunchSchedule:
        round_trip = self._introduction.round_trip
        # What comes to an IPv6 socket while it is guarded is lost.
        is_resent = dial.is_told and dial.remote.address.version == 6
        if dial.is_guarded:
            return PunchSchedule.hold(guard_hops, round_trip, random.random, is_resent=is_resent)
        delay = self._introduction.delay if dial.is_timed else 0.0
        return PunchSchedule.dial(round_trip, random.random, delay=delay, is_resent=is_resent)

    async def _guess(self, port: int, guard_hops: int, port_guessing: PortGuessing) -> None:
        peer, started_at = self._introduction.peer.endpoint, trio.current_time()
        is_holding = port_guessing is PortGuessing.HOLD
        take = self.take_unproven if is_holding else self._take_asked
        ended: tuple[Endpoint | None, Endpoint, Outcome] = None, peer, Outcome.SILENT

        async def take_guessed(sock: trio.socket.SocketType) -> bool:
            nonlocal ended
            local, remote = local_endpoint(sock), remote_endpoint(sock)
            is_taken = await take(sock)
            ended = local, remote, Outcome.CONNECTED if is_taken else Outcome.WRONG_PEER
            return is_taken

        try:
            if is_holding:
                await hold(peer, guard_hops, take=take_guessed)
            else:
                await guess(peer.address, port, take=take_guessed)
        finally:
            self._record(Route.GUESSED, *ended, trio.current_time() - started_at)

    async def accept(
        self, accepted: trio.MemoryReceiveChannel[trio.socket.SocketType], take: Take
    ) -> None:
        """Wait until an accepted connection wins."""
        async for sock in accepted:
            won = False
            try:
                local, remote = local_endpoint(sock), remote_endpoint(sock)
                won = await take(sock)
            except OSError:
                continue  # it broke; the peer comes again
            finally:
                if not won:
                    sock.close()
            outcome = Outcome.CONNECTED if won else Outcome.WRONG_PEER
            seconds = trio.current_time() - self._started_at
            route = reflexive_route(remote.address.version)
            self._record(route, local, remote, outcome, seconds)

    async def take_unproven(self, sock: trio.socket.SocketType) -> bool:
        """Take a connection to or from the endpoint that we were told of, if it is the peer's."""
        if self._introduction.role is Role.SENDER:
            # To wait for the receiver's proof would cost a round trip.
            expects, busy = self.proofs.peers, self.proofs.busy
            return self._nominate(sock, CheckedSocket(sock, expects=expects, busy=busy))
        said, says = await self._hear(sock), self.proofs.own
        if said in (QUESTION, self.proofs.check):
            send_at_once(sock, says)
            says = b""
            said = await self._hear(sock)
        if not hmac.compare_digest(said, self.proofs.peers):
            return False
        return self._win(CheckedSocket(sock, says=says))

    async def take_checked(self, sock: trio.socket.SocketType) -> bool:
        """Take a connection on which the sender has asked who we are, if it nominates it."""
        send_at_once(sock, self.proofs.own)
        if not hmac.compare_digest(await self._hear(sock), self.proofs.peers):
            return False
        return self._win(sock)

    async def _take_asked(self, sock: trio.socket.SocketType) -> bool:
        """Take a connection to where somebody else may be, too."""
        if self._introduction.role is Role.RECEIVER:
            return await self.take_unproven(sock)
        send_at_once(sock, self.proofs.check)
        if not hmac.compare_digest(await self._hear(sock), self.proofs.peers):
            return False
        return self._nominate(sock, sock)

    async def _hear(self, sock: trio.socket.SocketType) -> bytes:
        """What the other side says first; nothing if that takes too long."""
        with trio.move_on_after(PROOF_TIME):
            return await receive_exactly(sock, PROOF_BYTES)
        return b""

    async def take_proven(self, sock: trio.socket.SocketType) -> bool:
        """Take a connection on which the peer has proven itself."""
        if self._introduction.role is Role.SENDER:
            return self._nominate(sock, sock)
        return self._win(CheckedSocket(sock, says=self.proofs.own))

    def _nominate(self, sock: trio.socket.SocketType, winner: trio.socket.SocketType) -> bool:
        """Prove ourselves, being the sender, on this connection and on no other."""
        if self._nomination.is_made:
            return False
        send_at_once(sock, self.proofs.own)
        return self._win(winner)

    def _win(self, sock: trio.socket.SocketType) -> bool:
        if self._nomination.is_made:  # a sender has nominated two, though it should not
            return False
        self._nomination.is_made = True
        self._winner = sock
        self.scope.cancel(reason="the introduced peer is connected")
        self.scope.shield = True  # a deadline that passes from here on has been met
        return True

    def _record(
        self,
        route: Route,
        local: Endpoint | None,
        remote: Endpoint,
        outcome: Outcome,
        seconds: float,
    ) -> None:
        technique = self._introduction.technique
        self._on_attempt(Attempt(technique, local, remote, outcome, seconds, route))
