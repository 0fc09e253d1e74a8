"""What carries the bytes of circuits: pipes, small ones, and none."""

import errno
import fcntl
import os
import resource
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial

import pytest
import trio

from trio_p2p._broker.pipes import MAX_HELD
from trio_p2p._net.system import UNKNOWN_ROOM, System, system_in_use

from ..kit.lacking_system import LackingSystem
from ..kit.loopback import held, until
from .relays import (
    KIB,
    MIB,
    are_stalled,
    exchange_both_ways,
    is_stalled,
    open_relay,
    talk_until_broken,
)


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


async def test_many_stalled_circuits_leave_pipes_of_full_size_to_others() -> None:
    async with open_relay() as (broker, receiver, fine), trio.open_nursery() as nursery:
        assert broker.broker._relay is not None
        pool = broker.broker._relay.carriers
        stalled = [await broker.open(receiver) for _ in range(MAX_HELD + 8)]
        for number, ends in enumerate(stalled):
            ends.receiver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
            nursery.start_soon(talk_until_broken, ends.sender)
            await until(partial(are_stalled, 2 * (number + 1)))
        assert 0 < pool._lent < MAX_HELD
        await exchange_both_ways(fine, 4 * MIB)
        assert pool._idle
        assert all(carrier.is_full_sized for carrier in pool._idle)
        nursery.cancel_scope.cancel(reason="the test is over")
        for ends in stalled:
            ends.close()


async def test_rest_that_is_taken_out_of_a_pipe_is_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_p2p._broker.pipes.MAX_HELD", 0)  # scarce from the first on
    for system in (System(), LackingSystem(has_splice=False)):
        with system_in_use(system):
            async with open_relay() as (_, _, ends):
                await exchange_both_ways(ends, 16 * MIB)


async def test_system_that_does_not_say_what_room_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_p2p._broker.pipes.MAX_HELD", 0)
    monkeypatch.setattr("trio_p2p._net.system._SO_MEMINFO", 9999)
    async with open_relay() as (broker, _, ends):
        assert broker.broker._relay is not None
        assert broker.broker._relay.system.room_to_write(ends.sender.socket) == UNKNOWN_ROOM
        await exchange_both_ways(ends, 4 * MIB)


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
