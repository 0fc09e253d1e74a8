"""What carries the bytes of circuits: pipes, small ones, and none."""

import errno
import fcntl
import os
import resource
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress

import pytest
import trio

from trio_p2p._net.system import system_in_use

from ..kit.lacking_system import LackingSystem
from ..kit.loopback import held, until
from .relays import KIB, MIB, exchange_both_ways, is_stalled, open_relay


@contextmanager
def no_descriptors_left() -> Generator[None]:
    """Let this process open no file any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    gaps: list[int] = []
    with suppress(OSError):
        while True:
            gaps.append(os.dup(0))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in gaps:
            os.close(descriptor)


async def test_all_passes_without_descriptors_for_pipes() -> None:
    async with open_relay() as (_, _, ends):
        with no_descriptors_left():
            await exchange_both_ways(ends, 4 * MIB)


async def test_all_passes_through_small_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(_descriptor: int, command: int, _size: int) -> int:
        asked.append(command)
        raise PermissionError(errno.EPERM, "spent")

    async with open_relay() as (_, _, ends):
        monkeypatch.setattr(fcntl, "fcntl", refuse)
        await exchange_both_ways(ends, 4 * MIB)
    assert set(asked) == {fcntl.F_SETPIPE_SZ}


async def test_all_passes_where_the_system_cannot_splice() -> None:
    with system_in_use(LackingSystem(has_splice=False)):
        async with open_relay() as (_, _, ends):
            await exchange_both_ways(ends, 4 * MIB)


async def test_idle_circuits_hold_no_pipes_of_their_own() -> None:
    async with open_relay() as (broker, receiver, first):
        others = [await broker.open(receiver) for _ in range(10)]
        before = held().descriptors
        for ends in (first, *others):
            await ends.sender.send_all(b"x")
            assert await ends.receiver.receive_some() == b"x"
        assert held().descriptors <= before + 2  # one pipe did for all
        for ends in others:
            ends.close()


async def test_spoilt_pipe_is_not_used_again() -> None:
    async with open_relay() as (broker, receiver, stalled):
        fine = await broker.open(receiver)
        stalled.receiver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stalled.sender.send_all, b"old" * 8 * MIB)
            await until(is_stalled)
            nursery.cancel_scope.cancel(reason="it stands still")
        stalled.close()
        await until(lambda: len(broker.circuits) == 1)
        await exchange_both_ways(fine, MIB)
        fine.close()
