"""The socket layer, over real sockets."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest
import trio

from trio_p2p import Endpoint, Outcome, Technique, open_p2p_listener, serve_broker
from trio_p2p._addresses import endpoint_of
from trio_p2p._net.os_errors import outcome_of
from trio_p2p._net.sockets import (
    abort,
    icmp_error_source,
    is_answered,
    listen_on,
    local_endpoint,
    lower_guard,
    open_bound_socket,
    start_connecting,
    wait_connected,
)

from ..kit.loopback import open_stream


def has_ipv6() -> bool:
    try:
        with listening("::1"):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif("not has_ipv6()", reason="this host has no IPv6 loopback")


@contextmanager
def listening(host: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        yield server


def test_connections_to_one_listener_share_its_endpoint() -> None:
    with (
        listening("127.0.0.1") as server,
        socket.create_connection(server.getsockname()),
        socket.create_connection(server.getsockname()),
        server.accept()[0] as one,
        server.accept()[0] as other,
    ):
        assert local_endpoint(one) is local_endpoint(other)
        assert local_endpoint(one) == endpoint_of(server.getsockname())


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
@pytest.mark.parametrize("hops", [None, 5])
async def test_guarded_or_not_a_socket_connects_and_keeps_its_usual_hops(
    host: str, hops: int | None
) -> None:
    with listening(host) as server:
        sock = start_connecting(endpoint_of(server.getsockname()), hops=hops)
        with sock, socket.socket(sock.family) as usual:
            if ":" in host and hops is not None:
                lower_guard(sock)  # until then it hears nothing; the answer comes again
            await wait_connected(sock)
            assert is_answered(sock)
            option = (
                (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
                if ":" in host
                else (socket.IPPROTO_IP, socket.IP_TTL)
            )
            assert sock.getsockopt(*option) == usual.getsockopt(*option)
            assert icmp_error_source(sock) is None


async def test_refused_connection_is_closed_and_says_so() -> None:
    with listening("127.0.0.1") as server:
        endpoint = endpoint_of(server.getsockname())
    sock = start_connecting(endpoint)
    with sock, pytest.raises(ConnectionRefusedError, match="refused") as caught:
        await wait_connected(sock)
    assert outcome_of(caught.value) is Outcome.REFUSED


async def test_connection_with_oneself_is_none() -> None:
    with open_bound_socket(socket.AF_INET, 0) as bound:
        port = local_endpoint(bound).port
    itself = Endpoint(IPv4Address("127.0.0.1"), port)
    with start_connecting(itself, port) as sock, pytest.raises(ConnectionRefusedError):
        await wait_connected(sock)


def test_port_of_somebody_else_cannot_be_shared() -> None:
    with listening("127.0.0.1") as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            open_bound_socket(socket.AF_INET, port)
        with pytest.raises(OSError, match="in use"):
            listen_on(socket.AF_INET, port)


def test_aborted_socket_leaves_nothing_behind() -> None:
    with listening("127.0.0.1") as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        abort(client)
        with accepted, pytest.raises(ConnectionResetError):
            accepted.recv(1)
    assert not is_answered(client)  # nobody knows any more


@needs_ipv6
@pytest.mark.parametrize("technique", Technique)
async def test_peers_meet_over_ipv6(technique: Technique) -> None:
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(lambda **kw: serve_broker(0, host="::1", **kw))
        broker = endpoint_of(listener.socket.getsockname())
        assert str(broker) == f"[::1]:{broker.port}"
        async with (
            open_p2p_listener("receiver", str(broker)) as receiver,
            open_stream("receiver", broker.sockaddr, techniques=[technique]) as stream,
            await receiver.accept() as accepted,
        ):
            await stream.send_all(b"!")
            assert await accepted.receive_some() == b"!"
        nursery.cancel_scope.cancel()
