"""The router is found, and the sockets that talk to it do what they are for."""

import errno
import socket
from contextlib import ExitStack
from ipaddress import IPv4Address

import pytest
import trio

from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._net.gateway import (
    find_default_gateway,
    local_address_towards,
    open_connected_datagram_socket,
    open_multicast_listener,
    send_datagram_at_once,
)
from trio_p2p._net.system import system_in_use
from trio_p2p._portmap.routers import Router, find_router

from ..kit.faulty_system import Fault, FaultySystem
from ..kit.lab import KernelNetwork, Nat
from ..kit.lacking_system import LackingSystem
from ..kit.loopback import PATIENCE

LOOPBACK = IPv4Address("127.0.0.1")


def test_gateway_of_a_site(kernel_network: KernelNetwork) -> None:
    site = kernel_network.add_site(Nat())
    gateway = site.host_address - 1
    router = Router(Endpoint(gateway, 5351), site.host_address)
    assert site.host.call(find_default_gateway) == gateway
    assert site.host.call(find_router) == router


def test_gateway_with_the_better_metric(kernel_network: KernelNetwork) -> None:
    site = kernel_network.add_site(Nat())
    other = IPv4Address("192.168.99.1")
    site.host.ip(
        "link add other type veth peer name end",
        "address add 192.168.99.2/24 dev other",
        "link set other up",
        "link set end up",
        f"route add default via {other} metric 100",
    )
    assert site.host.call(find_default_gateway) == site.host_address - 1
    site.host.ip(
        f"route del default via {site.host_address - 1}",
        f"route add default via {site.host_address - 1} metric 200",
    )
    assert site.host.call(find_default_gateway) == other


def test_no_route(kernel_network: KernelNetwork) -> None:
    host = kernel_network.add_site(Nat()).host
    host.ip("route del default")
    assert host.call(find_default_gateway) is None
    assert host.call(find_router) is None


def test_route_without_a_gateway(kernel_network: KernelNetwork) -> None:
    host = kernel_network.add_site(Nat()).host
    host.ip("route replace default dev lan")
    assert host.call(find_default_gateway) is None


def test_system_without_netlink() -> None:
    with system_in_use(LackingSystem(has_netlink=False)):
        assert find_default_gateway() is None


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMFILE])
def test_sandbox_without_netlink(number: int) -> None:
    with system_in_use(
        FaultySystem(Fault("open_socket", nth=1, error=number), looks_into_routes=True)
    ):
        assert find_default_gateway() is None


def test_local_address() -> None:
    assert local_address_towards(Endpoint(LOOPBACK, 5351)) == LOOPBACK


def test_no_local_address(kernel_network: KernelNetwork) -> None:
    host = kernel_network.add_site(Nat()).host
    host.ip("route del default")
    with pytest.raises(OSError, match="unreachable"):
        host.call(local_address_towards, Endpoint(IPv4Address("8.8.8.8"), 5351))


async def test_datagrams() -> None:
    with trio.socket.socket(type=socket.SOCK_DGRAM) as other:
        await other.bind((str(LOOPBACK), 0))
        there = endpoint_of(other.getsockname())
        send_datagram_at_once(there, b"hello")
        assert await other.recv(10) == b"hello"
        with open_connected_datagram_socket(there) as sock:
            await other.sendto(b"there", sock.getsockname())
            assert await sock.recv(10) == b"there"


def open_datagram_socket() -> socket.socket:
    return socket.socket(type=socket.SOCK_DGRAM)


async def test_hosts_hear_what_is_sent_to_all_of_them(kernel_network: KernelNetwork) -> None:
    site = kernel_network.add_site(Nat())

    async def send_again_and_again() -> None:
        # Nothing says from when on the kernel lets an interface's multicasts through.
        while True:
            sock.sendto(b"all", ("224.0.0.1", 5350))
            await trio.sleep(0.01)

    with ExitStack() as stack:
        listeners: list[trio.socket.SocketType] = []
        for _ in range(2):
            listener = site.host.call(open_multicast_listener, 5350)
            assert listener is not None
            listeners.append(stack.enter_context(listener))
        sock = stack.enter_context(site.router.call(open_datagram_socket))
        address = socket.inet_aton(str(site.host_address - 1))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, address)
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_again_and_again)
                for listener in listeners:
                    data, sender = await listener.recvfrom(10)
                    assert (data, sender[0]) == (b"all", str(site.host_address - 1))
                nursery.cancel_scope.cancel(reason="both have heard it")


async def test_systems_that_share_ports_by_one_option_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    listener = open_multicast_listener(0)
    assert listener is not None
    with listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


async def test_port_that_somebody_has_for_himself() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("", 0))
        assert open_multicast_listener(other.getsockname()[1]) is None
