"""Simulated sockets behave as those of the system do, as far as programs can tell."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address
from typing import Any

import pytest
import trio
from trio.testing import MockClock, check_half_closeable_stream

from trio_p2p import Endpoint
from trio_p2p._net.listening import open_listeners
from trio_p2p._net.sockets import (
    abort,
    detect_dead_peer,
    icmp_error_source,
    is_answered,
    limit_unsent,
    listen_on,
    local_endpoint,
    open_bound_socket,
    remote_endpoint,
    round_trip,
    send_at_once,
    start_connecting,
    wait_connected,
)
from trio_p2p._net.system import current_system
from trio_p2p.testing import MemoryHost, MemoryNetwork, open_memory_network

PORT = 7000
INTERNET = IPv4Address("198.18.0.1")  # the router where what lives for few hops dies

Streams = tuple[trio.SocketStream, trio.SocketStream]


@asynccontextmanager
async def open_hosts(
    one: str = "public", other: str = "public"
) -> AsyncGenerator[tuple[MemoryNetwork, MemoryHost, MemoryHost]]:
    async with open_memory_network() as network:
        yield network, network.add_host(one), network.add_host(other)


async def listen(host: MemoryHost) -> trio.SocketListener:
    [listener] = await host.run(open_listeners, PORT, [None])
    return listener


def dial(
    host: MemoryHost, other: MemoryHost, port: int = 0, remote_port: int = PORT, **options: Any
) -> socket.socket:
    with host.in_use():
        return start_connecting(Endpoint(other.public_address, remote_port), port, **options)


async def connect(one: MemoryHost, listener: trio.SocketListener, other: MemoryHost) -> Streams:
    sock = dial(one, other)
    await one.run(wait_connected, sock)
    stream = trio.SocketStream(current_adopted(one, sock))
    return stream, await listener.accept()


def current_adopted(host: MemoryHost, sock: socket.socket) -> trio.socket.SocketType:
    with host.in_use():
        return current_system().adopt(sock)


async def error_of(host: MemoryHost, sock: socket.socket) -> int | None:
    try:
        await host.run(wait_connected, sock)
    except OSError as error:
        return error.errno
    return None


async def clog(stream: trio.SocketStream) -> None:
    """Fill what the other end does not read."""
    with suppress(BlockingIOError):
        while current_system().write(stream.socket, bytes(1_000_000)):  # noqa: ASYNC110
            await trio.sleep(1.0)  # for the other end to take it


async def test_streams_are_as_trio_wants_them(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, other), await listen(other) as listener:

        async def make() -> Streams:
            return await connect(one, listener, other)

        async def make_clogged() -> Streams:
            streams = await make()
            for stream in streams:
                await clog(stream)
            return streams

        await check_half_closeable_stream(make, make_clogged)


async def test_sockets_say_where_they_are(autojump_clock: MockClock) -> None:
    async with open_hosts("eim-apdf") as (_, one, other), await listen(other) as listener:
        opened, accepted = await connect(one, listener, other)
        assert local_endpoint(opened.socket).address == one.address
        assert remote_endpoint(opened.socket) == Endpoint(other.address, PORT)
        assert local_endpoint(accepted.socket) == Endpoint(other.address, PORT)
        assert remote_endpoint(accepted.socket).address == one.public_address
        assert one.public_address != one.address
        assert round_trip(opened) == pytest.approx(40_500, abs=1)  # with half a millisecond at home
        assert "open" in repr(opened.socket)
        for stream in (opened, accepted):
            await stream.aclose()
        assert "closed" in repr(opened.socket)
        for ask in (local_endpoint, remote_endpoint):
            with pytest.raises(OSError, match="Bad file"):
                ask(opened.socket)


async def test_nothing_listens(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, other):
        with dial(one, other) as sock:
            assert await error_of(one, sock) == errno.ECONNREFUSED


async def test_no_host_has_the_address(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, _other):
        with one.in_use(), start_connecting(Endpoint("198.18.99.99", PORT)) as sock:
            assert await error_of(one, sock) == errno.ENETUNREACH


async def test_an_unsolicited_syn_meets_what_the_nat_does_with_it(
    autojump_clock: MockClock,
) -> None:
    for nat, expected in (
        ("eim-apdf-rst", errno.ECONNREFUSED),
        ("eim-apdf-icmp", errno.EHOSTUNREACH),
        ("eim-apdf", errno.ETIMEDOUT),
    ):
        async with open_hosts("public", nat) as (_, one, other), await listen(other):
            with dial(one, other) as sock:
                assert await error_of(one, sock) == expected


async def test_crossing_syns_make_a_connection(autojump_clock: MockClock) -> None:
    async with open_hosts("eim-apdf", "eim-apdf") as (_, one, other):
        with (
            dial(one, other, port=5000, remote_port=6000) as here,
            dial(other, one, port=6000, remote_port=5000) as there,
        ):
            assert not is_answered(here)
            assert await error_of(one, here) is None
            assert await error_of(other, there) is None
            assert is_answered(here)


async def test_a_guarded_syn_dies_and_the_held_socket_lives(autojump_clock: MockClock) -> None:
    async with open_hosts("eim-apdf", "eim-apdf-rst") as (_, one, other):
        with dial(one, other, port=5000, remote_port=6000, hops=2) as held:
            await trio.sleep(0.5)
            with dial(other, one, port=6000, remote_port=5000) as sock:
                assert await error_of(other, sock) is None
                assert await error_of(one, held) is None


async def test_an_unguarded_syn_tells_where_it_has_died(autojump_clock: MockClock) -> None:
    async with open_hosts("eim-apdf") as (_, one, other):
        for hops, router in ((1, IPv4Address("10.0.1.1")), (2, INTERNET)):
            with dial(one, other, hops=hops, reports_icmp_errors=True) as sock:
                assert await error_of(one, sock) == errno.EHOSTUNREACH
                assert icmp_error_source(sock) == router
                assert icmp_error_source(sock) is None
        with dial(one, other, hops=1) as sock:  # guarded
            await trio.sleep(0.5)
            with pytest.raises(BlockingIOError):
                sock.recvmsg(0)


async def test_ports_are_shared_by_those_that_want_to(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, other), await listen(other) as listener:
        with one.in_use():
            listening = listen_on(socket.AF_INET, 5000)
            first = dial(one, other, port=5000)
            with pytest.raises(OSError, match="Cannot assign"):
                dial(one, other, port=5000)  # the same two endpoints
            with pytest.raises(OSError, match="in use"):
                await open_listeners(5000, [None])
            assert await error_of(one, first) is None
            accepted = await listener.accept()
            assert remote_endpoint(accepted.socket).port == 5000
            first.close()
            listening.close()
            await accepted.aclose()
            [again] = await open_listeners(5000, [None])
            await again.aclose()


async def test_a_connection_may_follow_another_between_the_same_endpoints(
    autojump_clock: MockClock,
) -> None:
    async with open_hosts() as (_, one, other), await listen(other) as listener:
        for _ in range(2):
            sock = dial(one, other, port=5000)
            await one.run(wait_connected, sock)
            stream = trio.SocketStream(current_adopted(one, sock))
            accepted = await listener.accept()
            await accepted.aclose()  # the listening side ends first, and waits for some time
            assert await stream.receive_some() == b""
            await stream.aclose()
            await trio.sleep(1.0)
        await trio.sleep(100.0)  # then nothing is left of either


async def test_addresses_of_others_are_not_to_be_had(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, other):
        with one.in_use(), pytest.raises(OSError, match="Cannot assign"):
            open_bound_socket(socket.AF_INET, source=other.address)


async def test_a_backlog_that_is_full_takes_no_more(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, other):
        with other.in_use():
            sock = open_bound_socket(socket.AF_INET, PORT)
            sock.listen(1)
        with sock, dial(one, other) as first:
            assert await error_of(one, first) is None
            with dial(one, other) as second:
                with trio.move_on_after(10.0):
                    await error_of(one, second)
                assert not is_answered(second)
        await trio.sleep(1.0)  # what was not accepted was reset with the listener


async def test_listeners_that_close_reset_what_they_have_not_accepted(
    autojump_clock: MockClock,
) -> None:
    async with open_hosts() as (_, one, other):
        async with await listen(other):
            sock = dial(one, other)
            await one.run(wait_connected, sock)
        stream = trio.SocketStream(current_adopted(one, sock))
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        await stream.aclose()


async def test_programs_talk_to_themselves(autojump_clock: MockClock) -> None:
    async with open_hosts("random") as (_, one, _other), await listen(one) as listener:
        with one.in_use(), start_connecting(Endpoint(one.address, PORT)) as sock:
            await wait_connected(sock)
            near = trio.SocketStream(current_system().adopt(sock))
            far = await listener.accept()
            await near.send_all(b"hello")
            assert await far.receive_some() == b"hello"
            pair = current_system().open_pair()
        await pair[0].send_all(b"to the other end")
        assert await pair[1].receive_some() == b"to the other end"
        for stream in (near, far, *pair):
            await stream.aclose()


async def test_a_socket_that_aborts_resets(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, other), await listen(other) as listener:
        sock = dial(one, other)
        await one.run(wait_connected, sock)
        accepted = await listener.accept()
        abort(sock)
        with pytest.raises(trio.BrokenResourceError):
            await accepted.receive_some()


async def test_dead_peers_are_detected(autojump_clock: MockClock) -> None:
    async with open_hosts() as (network, one, other), await listen(other) as listener:
        opened, accepted = await connect(one, listener, other)
        detect_dead_peer(opened.socket, 5.0)
        limit_unsent(opened.socket, 1000)
        network.lose_path(one, other)
        await opened.send_all(b"lost")
        begun = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await opened.receive_some()
        assert 5.0 <= trio.current_time() - begun < 20.0
        for stream in (opened, accepted):
            await stream.aclose()


async def test_sockets_of_trio_have_what_programs_use(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, other), await listen(other) as listener:
        with one.in_use():
            sock = current_adopted(one, open_bound_socket(socket.AF_INET, 5000))
        with sock:
            assert (sock.family, sock.type, sock.proto) == (socket.AF_INET, socket.SOCK_STREAM, 0)
            await sock.connect((str(other.address), PORT))
            accepted = await listener.accept()
            assert send_here(other, accepted, b"hello") == 5
            assert await sock.recv(3, socket.MSG_PEEK) == b"hel"
            assert sock.is_readable()
            buffer = bytearray(10)
            assert await sock.recv_into(buffer) == 5
            assert buffer[:5] == b"hello"
            with pytest.raises(OSError, match="already connected"):
                await sock.connect((str(other.address), PORT))
            sock.shutdown(socket.SHUT_RD)
            assert not sock.did_shutdown_SHUT_WR
            sock.shutdown(socket.SHUT_WR)
            assert await accepted.receive_some() == b""
            await accepted.aclose()
        with one.in_use():
            fresh = current_adopted(one, open_bound_socket(socket.AF_INET))
        with fresh, pytest.raises(OSError, match="Connection refused"):
            await fresh.connect((str(other.address), 9999))


def send_here(host: MemoryHost, stream: trio.SocketStream, data: bytes) -> int:
    with host.in_use():
        return send_at_once(stream.socket, data)


async def test_connecting_can_be_cancelled(autojump_clock: MockClock) -> None:
    async with open_hosts("public", "eim-apdf") as (_, one, other):
        with one.in_use():
            sock = current_adopted(one, open_bound_socket(socket.AF_INET))
        with trio.move_on_after(5.0) as scope:
            await sock.connect((str(other.public_address), PORT))
        assert scope.cancelled_caught
        assert sock.fileno() == -1


async def test_waiting_ends_with_the_socket(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, other), await listen(other) as listener:
        opened, accepted = await connect(one, listener, other)

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await one.run(current_system().wait_readable, opened.socket)

        for end in (current_system().notify_closing, lambda sock: sock.close()):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                end(opened.socket)
        await wait()
        with pytest.raises(trio.ClosedResourceError):
            await current_system().wait_writable(opened.socket)
        await accepted.aclose()


async def test_hosts_lack_what_the_network_lacks(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, other):
        with one.in_use():
            system = current_system()
            for family, kind, number in (
                (socket.AF_INET6, socket.SOCK_STREAM, errno.EAFNOSUPPORT),
                (socket.AF_INET, socket.SOCK_DGRAM, errno.EPROTONOSUPPORT),
            ):
                with pytest.raises(OSError, match=f"{number}"):
                    system.open_socket(family, kind)
            assert not system.can_splice
            assert system.free_descriptors() > 1000
            system.raise_descriptor_limit()
            for remote in ("239.255.255.250", "2001:db8::1"):
                with pytest.raises(OSError, match="unreachable"):
                    system.find_route(Endpoint(remote, 1900))
            assert system.find_route(Endpoint(other.address, 1), one.address).gateway is None
            with pytest.raises(OSError, match="Cannot assign"):
                system.find_route(Endpoint(other.address, 1), other.address)
            assert await system.resolve(b"host-2", 80, 0) == [(str(other.address), 80)]
            for family, name in ((socket.AF_INET6, "host-2"), (socket.AF_UNSPEC, "nowhere")):
                with pytest.raises(socket.gaierror):
                    await system.resolve(name, 80, family)
            sock = open_bound_socket(socket.AF_INET)
            with pytest.raises(OSError, match="not connected"):
                remote_endpoint(sock)
            with pytest.raises(OSError, match="not connected"):
                current_system().read(sock, 1)
            with pytest.raises(OSError, match="not available"):
                sock.getsockopt(socket.SOL_SOCKET, 9999, 4)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER) == 0
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 5))
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\x07"
            assert sock.fileno() > 0
            assert "open" in repr(sock)
            assert (sock.family, sock.type, sock.proto) == (socket.AF_INET, socket.SOCK_STREAM, 0)
            sock.close()
            sock.close()
            adopted = current_adopted(one, open_bound_socket(socket.AF_INET))
            with adopted, pytest.raises(OSError, match="Invalid"):
                await adopted.accept()


async def test_other_sockets_do_not_belong_here(autojump_clock: MockClock) -> None:
    async with open_hosts() as (_, one, _other):
        with one.in_use(), socket.socket() as sock, pytest.raises(TypeError, match="no socket"):
            current_system().read(sock, 1)
