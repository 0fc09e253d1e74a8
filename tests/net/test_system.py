"""The seam to the operating system: which one is in use, and what this host's own does."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from trio_p2p._net.system import System, current_system, system_in_use

from ..kit.loopback import HOST, open_streams


async def test_tasks_have_the_system_that_they_were_started_with() -> None:
    seen: list[System] = []

    async def look() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(current_system())

    usual, other = current_system(), System()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        with system_in_use(other):
            nursery.start_soon(look)
        nursery.start_soon(look)
        assert current_system() is usual
    assert sorted(map(id, seen)) == sorted(map(id, (usual, other, usual)))


async def test_bytes_move_at_once_or_not_at_all() -> None:
    system, buffer = System(), memoryview(bytearray(8))
    async with open_streams() as (client, server):
        try:
            system.read_into(server.socket, buffer)
        except BlockingIOError:
            pass
        else:
            raise AssertionError("nothing was sent")
        assert system.write(client.socket, b"bytes") == 5
        await system.wait_readable(server.socket)
        assert system.read_into(server.socket, buffer) == 5
        assert bytes(buffer[:5]) == b"bytes"


async def test_waiting_ends_when_it_is_told_to() -> None:
    system, ended = System(), trio.Event()

    async def wait() -> None:
        try:
            await system.wait_readable(server.socket)
        except trio.ClosedResourceError:
            ended.set()

    async with open_streams() as (_, server), trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        system.notify_closing(server.socket)
        await ended.wait()


async def test_closed_socket_is_not_waited_for() -> None:
    system = System()
    async with open_streams() as (stream, _):
        stream.socket.close()
        for _ in range(2):  # Trio itself would be confused from the second time on
            with pytest.raises(trio.ClosedResourceError):
                await system.wait_readable(stream.socket)
            with pytest.raises(trio.ClosedResourceError):
                await system.wait_writable(stream.socket)


def test_limit_of_descriptors_is_raised() -> None:
    """In a process of its own, as it may be what other tests need to be low."""
    program = (
        "import resource as r; from trio_p2p._net.system import System; "
        "_, hard = r.getrlimit(r.RLIMIT_NOFILE); r.setrlimit(r.RLIMIT_NOFILE, (64, hard)); "
        "System().raise_descriptor_limit(); assert r.getrlimit(r.RLIMIT_NOFILE) == (hard, hard)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_listeners_that_are_opened_accept() -> None:
    [listener] = await System().open_listeners(0, HOST, 16)
    async with listener:
        port = listener.socket.getsockname()[1]
        async with await trio.open_tcp_stream(HOST, port), await listener.accept():
            pass


async def test_address_of_a_host() -> None:
    assert await System().resolve("localhost", 80, socket.AF_INET) == [("127.0.0.1", 80)]


def test_clock_that_runs_in_sleep_is_not_behind_the_other_one() -> None:
    before = time.monotonic()
    assert System().time_since_boot() >= before


def test_free_descriptors_become_fewer() -> None:
    system = System()
    before = system.free_descriptors()
    reading, writing = system.open_pipe()
    try:
        assert system.free_descriptors() == before - 2
    finally:
        os.close(reading)
        os.close(writing)


def test_a_host_without_a_list_of_descriptors_has_half_of_the_limit_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(path: Path) -> Iterator[Path]:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "iterdir", fail)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 4096))
    assert System().free_descriptors() == 512


def test_a_process_without_a_limit_has_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: unlimited)
    assert System().free_descriptors() > 10_000
