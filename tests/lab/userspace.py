"""A network whose internet is a process of ours, with round-trip times to set, without netem."""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from ipaddress import IPv4Address

from trio_p2p._lab.namespaces import Namespace, NamespacesUnavailableError
from trio_p2p._lab.networks import INTERNET, WAN, Host, Network, Site, internet_uplink

from . import router

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000


class UserspaceNetwork(Network):
    """A network of kernel NATs around an internet with settable delays.

    Packets take half of the round-trip time from host to host. The internet's router sits in the
    middle: what dies there is reported after half of the round-trip time, too.
    """

    def __init__(self) -> None:
        super().__init__()
        os.close(_open_tun())  # better missed now than at the first host
        self._leaves: dict[Namespace, int] = {}
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._router = subprocess.Popen(
                [sys.executable, "-IS", router.__file__, str(INTERNET), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
            )

    def __exit__(self, *exception: object) -> None:
        # The router ends by itself when its control socket is closed, be it by our death.
        self._control.close()
        self._router.wait()
        super().__exit__(*exception)

    def set_round_trip(self, one: Host, other: Host, seconds: float) -> None:
        """Set how long packets take between two hosts of the network, there and back."""
        between = [self._leaves[_outermost(host)] for host in (one, other)]
        self._tell({"one_way_delay": seconds / 2, "between": between})

    def set_mtu(self, host: Host, size: int) -> None:
        """Set how long packets may be that leave a host, its router's included."""
        namespace = _outermost(host)
        namespace.ip(f"link set {WAN} mtu {size}")

    def _attach(self, namespace: Namespace, address: IPv4Address, *behind: IPv4Address) -> None:
        uplink = internet_uplink(namespace, address)
        device = namespace.call(_open_tun_device, uplink.interface)
        try:
            self._tell({"attach": [str(address), *map(str, behind)]}, device)
        finally:
            os.close(device)
        namespace.ip(*uplink.configuration)
        self._leaves[namespace] = len(self._leaves)

    def _tell(self, command: Mapping[str, object], *descriptors: int) -> None:
        socket.send_fds(self._control, [json.dumps(command).encode()], descriptors)
        if not self._control.recv(router.MAX_CONTROL_MESSAGE):
            raise RuntimeError(f"the router process died of {command}")


def _outermost(host: Host) -> Namespace:
    return host.router if isinstance(host, Site) else host.host


def _open_tun_device(name: str) -> int:
    device = _open_tun()
    request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)  # struct ifreq
    fcntl.ioctl(device, _TUNSETIFF, request)
    return device


def _open_tun() -> int:
    try:
        return os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise NamespacesUnavailableError(
            f"The userspace internet needs /dev/net/tun ({error.strerror}): load the kernel module "
            "tun, or run as root."
        ) from error
