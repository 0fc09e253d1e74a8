"""What both peers do once they are introduced: punch and accept, check, and keep one connection."""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from .._addresses import Endpoint
from .._attempt import Attempt, Outcome, Route
from .._net.attempt_log import AttemptLog
from .._net.sockets import local_endpoint, remote_endpoint
from .._net.system import current_system
from .._net.winner import Winner
from .._peer_connection import PeerConnection
from .check import Check, Verdict
from .checked_connection import CheckedConnection, busy_error
from .introduction import Introduction
from .nomination import Nomination
from .port_guessing import guess, hold
from .proofs import proofs
from .punch import Take, punch, take_syns
from .punch_schedule import PunchSchedule
from .shared_port import PROOF_TIME, SharedPort
from .strategy import Dial, PortGuessing, reflexive_route
from .syn_budget import SynBudget

MAX_CHECKED: Final = 4  # accepted connections at a time that one introduction checks


async def connect_introduced(
    shared_port: SharedPort,
    introduction: Introduction,
    *,
    guard_hops: int,
    attempts: AttemptLog,
    punched: trio.Event | None = None,
    nomination: Nomination | None = None,
) -> PeerConnection:
    """The connection to the introduced peer, however long it takes.

    Dials and accepts at once; the first connection that is nominated wins. The sender of the
    introduction has yet to call :meth:`PeerConnection.confirm`.

    Args:
        shared_port: the local port that the peer was told of.
        introduction: whom to connect to.
        guard_hops: how many hops lead beyond our own NATs; matters to the receiver only.
        attempts: where each attempt is noted.
        punched: set when the first SYN has left, or could not.
        nomination: a sender's, which other introductions share.

    Raises:
        BusyError: the receiver has declined the introduction.

    If cancelled, every connection that was under way is closed.
    """
    race = Race(introduction, attempts, nomination or Nomination())
    race.refuse_forbidden()
    with (
        race.winner,
        shared_port.expecting(race.proofs, introduction.peer.endpoint) as accepted,
    ):
        async with trio.open_nursery() as nursery:
            race.scope = nursery.cancel_scope
            for _ in range(MAX_CHECKED):
                nursery.start_soon(race.accept, accepted)
            await race.start(shared_port, guard_hops, nursery)
            if punched is not None:
                punched.set()
    return race.connection()


class Race:
    """Many connections for one introduction, of which one wins."""

    scope: trio.CancelScope

    def __init__(
        self, introduction: Introduction, attempts: AttemptLog, nomination: Nomination
    ) -> None:
        self.proofs = proofs(introduction.nonce, introduction.role)
        self.winner: Winner[CheckedConnection] = Winner(self._withdraw)
        self._introduction = introduction
        self._attempts = attempts
        self._nomination = nomination
        self._started_at = trio.current_time()
        self._is_declined = False

    def connection(self) -> PeerConnection:
        """The winner.

        Raises:
            BusyError: the receiver has declined the introduction.
        """
        winner, introduction = self.winner.found, self._introduction
        if winner is None:
            assert self._is_declined
            raise busy_error()
        return PeerConnection(
            trio.SocketStream(winner.socket),
            introduction.technique,
            introduction.certificate,
            confirm=winner.confirm,
        )

    def _withdraw(self, winner: CheckedConnection) -> None:
        """Close the winner, which the caller does not get."""
        winner.close()
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
            take = self._taking_dialled(is_told=dial.is_told)
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
        round_trip, dice = self._introduction.round_trip, current_system().dice
        # What comes to an IPv6 socket while it is guarded is lost.
        is_resent = dial.is_told and dial.remote.address.version == 6
        if dial.is_guarded:
            return PunchSchedule.hold(guard_hops, round_trip, dice.random, is_resent=is_resent)
        delay = self._introduction.delay if dial.is_timed else 0.0
        return PunchSchedule.dial(round_trip, dice.random, delay=delay, is_resent=is_resent)

    async def _guess(self, port: int, guard_hops: int, port_guessing: PortGuessing) -> None:
        peer, started_at = self._introduction.peer.endpoint, trio.current_time()
        is_holding = port_guessing is PortGuessing.HOLD
        take = self._taking_dialled(is_told=is_holding)
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

    async def accept(self, accepted: trio.MemoryReceiveChannel[CheckedConnection]) -> None:
        """Wait until an accepted connection wins."""
        async for connection in accepted:
            won = False
            try:
                sock = connection.socket
                local, remote = local_endpoint(sock), remote_endpoint(sock)
                won = await self.take(connection)
            except OSError:
                continue  # it broke; the peer comes again
            finally:
                if not won:
                    connection.close()
            outcome = Outcome.CONNECTED if won else Outcome.WRONG_PEER
            seconds = trio.current_time() - self._started_at
            route = reflexive_route(remote.address.version)
            self._record(route, local, remote, outcome, seconds)

    def _taking_dialled(self, *, is_told: bool) -> Take:
        async def take(sock: trio.socket.SocketType) -> bool:
            check = Check.dialled(self.proofs, is_told=is_told)
            return await self.take(CheckedConnection(sock, check))

        return take

    async def take(self, connection: CheckedConnection) -> bool:
        """Check a connection until the sender nominates it; whether it has won then.

        Raises:
            OSError: it broke.
        """
        check = connection.check
        with trio.move_on_after(PROOF_TIME):
            while check.missing and not check.is_nominated:
                connection.say()
                await connection.hear()
        if check.is_nominated:
            return self._win(connection)
        if check.verdict is Verdict.BUSY:
            self._is_declined = True
            self.scope.cancel(reason="the receiver has declined the introduction")
            await trio.lowlevel.checkpoint()  # which is cancelled: nothing was wrong with the peer
        return False

    def _win(self, connection: CheckedConnection) -> bool:
        if self._nomination.is_made:  # one is enough; a sender nominates two though it should not
            return False
        connection.say()
        self._nomination.is_made = True
        self.winner.offer(connection)
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
        self._attempts.note(Attempt(technique, local, remote, outcome, seconds, route))
