"""Punches: sends SYN after SYN from one port to one endpoint, until a connection comes of it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import trio

from .._addresses import Endpoint, IPAddress
from .._attempt import Outcome
from .._net.os_errors import is_expiry, outcome_of
from .._net.sockets import (
    abort,
    adopt,
    is_answered,
    local_endpoint,
    lower_guard,
    start_connecting,
    wait_connected,
)
from .punch_schedule import PunchSchedule
from .syn_budget import SynBudget

# Seconds for an IPv6 socket to be guarded at most: less than until a SYN that came meanwhile is
# sent again (RFC 6298).
GUARD_TIME = 0.5

Record: TypeAlias = Callable[[Endpoint | None, Endpoint, Outcome, float], None]
Take: TypeAlias = Callable[[trio.socket.SocketType], Awaitable[bool]]


async def punch(
    port: int,
    remote: Endpoint,
    schedule: PunchSchedule,
    budget: SynBudget,
    *,
    source: IPAddress | None,
    take: Take,
    record: Record,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Connect from a local port to an endpoint, however many SYNs that takes.

    The sockets are held in SYN_SENT, never closed to listen: a stateful NAT expects the answer
    with the initial sequence number of the SYN that it saw leave.

    Args:
        port: the local port, shared with other sockets.
        remote: where to connect to.
        schedule: when to send the next SYN.
        budget: what SYNs after the first one are taken from, here and at other endpoints.
        source: the local address; as the system sees fit if None.
        take: takes a connection over if it leads to the right peer, and says whether it did.
        record: told how each attempt ended: local and remote endpoint, outcome, seconds.
        task_status: started when the first SYN has left, or could not.

    Returns when a connection was taken over, or the budget is used up. If cancelled, what was under
    way is closed, and recorded as silent.
    """
    await trio.sleep(schedule.pause)
    is_punched = False
    while True:
        started_at = trio.current_time()
        outcome = Outcome.SILENT
        sock = local = None
        try:
            sock = start_connecting(remote, port, source=source, hops=schedule.hops)
            local = local_endpoint(sock)
        except OSError as error:
            outcome = outcome_of(error)
        if not is_punched:
            is_punched = True
            task_status.started()
        try:
            if sock is not None:
                decoy = partial(start_connecting, remote, source=source, hops=schedule.hops)
                expire = decoy if _has_decoy(remote, schedule) else None
                outcome = await _hold(sock, expire, schedule, budget, take)
        finally:
            if sock is not None and outcome is not Outcome.CONNECTED:
                sock.close()
            record(local, remote, outcome, trio.current_time() - started_at)
        if outcome is Outcome.CONNECTED:
            return
        schedule.failed(outcome)
        await trio.sleep(schedule.pause)
        if not take_syns(remote, schedule, budget):
            return
        if outcome is not Outcome.SILENT:  # else the last one was held until now
            await trio.sleep(budget.time_to_repeat(trio.current_time()))


def take_syns(remote: Endpoint, schedule: PunchSchedule, budget: SynBudget) -> bool:
    """Take what the next SYN of a punch costs, those for its guard included; whether it may leave.

    Args:
        remote: where the SYN goes.
        schedule: of the punch.
        budget: what the punch shares with others.
    """
    is_paid = budget.take(schedule.patience)
    return is_paid and (not _has_decoy(remote, schedule) or budget.take(GUARD_TIME))


def _has_decoy(remote: Endpoint, schedule: PunchSchedule) -> bool:
    return schedule.hops is not None and remote.family == socket.AF_INET6


async def _hold(
    sock: socket.socket,
    expire: Callable[..., socket.socket] | None,
    schedule: PunchSchedule,
    budget: SynBudget,
    take: Take,
) -> Outcome:
    """What comes of a socket in SYN_SENT, and before of its guard, if there is one to wait for."""
    if expire is not None:
        outcome = await _wait_expired(expire)
        lower_guard(sock)
        if outcome is not Outcome.SILENT:
            return outcome
    return await _connect(sock, schedule.patience, budget, take)


async def _wait_expired(start: Callable[..., socket.socket]) -> Outcome:
    """Wait until a guarded SYN has died, as another one has that left behind it.

    Returns:
        SILENT if it has died, or nothing is heard of it; else what went wrong: it came too far.
    """
    with trio.move_on_after(GUARD_TIME):
        try:
            with start(reports_icmp_errors=True) as decoy:
                await wait_connected(decoy)
        except OSError as error:
            return Outcome.SILENT if is_expiry(error) else outcome_of(error)
    return Outcome.SILENT


async def _connect(sock: socket.socket, patience: float, budget: SynBudget, take: Take) -> Outcome:
    """What comes of a socket in SYN_SENT; CONNECTED if it was taken over."""
    try:
        # Until the next SYN may leave: the peer's must not come when there is none.
        if not await connects_within(
            patience, sock, lambda: budget.time_to_repeat(trio.current_time())
        ):
            return Outcome.SILENT
        taken = await take(adopt(sock))
    except OSError as error:
        return outcome_of(error)
    return Outcome.CONNECTED if taken else Outcome.WRONG_PEER


async def connects_within(
    patience: float, sock: socket.socket, extension: Callable[[], float] = lambda: 0.0
) -> bool:
    """Hold a socket in SYN_SENT for so many seconds at least; whether it is connected now.

    Args:
        patience: for how many seconds.
        sock: the socket.
        extension: says then for how many more.

    Raises:
        OSError: the connection failed.
    """
    with trio.move_on_after(patience):
        await wait_connected(sock)
        return True
    with trio.move_on_after(extension()):
        await wait_connected(sock)
        return True
    if is_answered(sock):
        # The peer's SYN has just come: to close now would reset what becomes a connection, or what
        # the peer takes for one already.
        with trio.move_on_after(patience):
            await wait_connected(sock)
            return True
        abort(sock)
    return False
