"""Punches: sends SYN after SYN from one port to one endpoint, until a connection comes of it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from .._endpoint import Endpoint
from .._errors import Outcome
from .._net.sockets import (
    abort,
    is_answering,
    local_endpoint,
    outcome_of,
    start_connecting,
    wait_connected,
)
from .plan import PunchPlan

Record: TypeAlias = Callable[[Endpoint | None, Endpoint, Outcome, float], None]
Check: TypeAlias = Callable[[trio.socket.SocketType], Awaitable[bool]]


async def punch(
    port: int,
    remote: Endpoint,
    plan: PunchPlan,
    *,
    check: Check,
    record: Record,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> trio.socket.SocketType:
    """Connect from a local port to an endpoint, however many SYNs that takes.

    The sockets are held in SYN_SENT, never closed to listen: a stateful NAT expects the answer
    with the initial sequence number of the SYN that it saw leave.

    Args:
        port: the local port, shared with other sockets.
        remote: where to connect to.
        plan: when to send the next SYN.
        check: whether a connection leads to the right peer.
        record: told how each attempt ended: local and remote endpoint, outcome, seconds.
        task_status: started when the first SYN has left, or could not.

    If cancelled, what was under way is closed, and recorded as silent.
    """
    starting = task_status
    while True:
        started_at = trio.current_time()
        local = None
        connected = None
        outcome = Outcome.SILENT
        sock = None
        try:
            sock = start_connecting(remote, port, hops=plan.hops)
            local = local_endpoint(sock)
            starting.started()
            starting = trio.TASK_STATUS_IGNORED
            if await _hold(sock, plan.patience):
                candidate = trio.socket.from_stdlib_socket(sock)
                outcome = Outcome.WRONG_PEER
                if await check(candidate):
                    connected, outcome = candidate, Outcome.CONNECTED
        except OSError as error:
            outcome = outcome_of(error)
        finally:
            if sock is not None and connected is None:
                sock.close()
            record(local, remote, outcome, trio.current_time() - started_at)
        if connected is not None:
            return connected
        plan.failed(outcome)
        await trio.sleep(plan.pause)


async def _hold(sock: socket.socket, patience: float) -> bool:
    """Hold a socket in SYN_SENT as long as patience lasts; whether it is connected now.

    Raises:
        OSError: the connection failed.
    """
    with trio.move_on_after(patience):
        await wait_connected(sock)
        return True
    if is_answering(sock):
        # The peer's SYN has just come: to close now would reset what becomes a connection.
        with trio.move_on_after(patience):
            await wait_connected(sock)
            return True
        abort(sock)
    return False
