"""Connections that show what the NATs between two hosts of the lab have done to them."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from ..kit.lab import Host
from ..kit.lab.sockets import (
    ANSWER_SECONDS,
    Endpoint,
    make_socket,
    start_connecting,
)


class PunchedHost:
    """A host that never accepts, but sees where SYNs come from, before it drops or refuses them."""

    def __init__(self, host: Host, verdict: str) -> None:
        self.host = host
        rules = f"""
table ip punched {{
    chain input {{
        type filter hook input priority filter
        tcp flags & (syn | ack) == syn {verdict}
    }}
}}
"""
        host.host.command("nft", "-f", "-", stdin=rules)

    @contextmanager
    def punched(
        self, receiver: Host, dialler: socket.socket
    ) -> Iterator[tuple[socket.socket, Endpoint]]:
        """A SYN from a receiver to a dialler here: the socket, and where the SYN comes from."""
        ipv4 = socket.htons(0x0800)
        with (
            self.host.host.call(socket.socket, socket.AF_PACKET, socket.SOCK_DGRAM, ipv4) as seen,
            make_socket(receiver) as puncher,
        ):
            seen.settimeout(ANSWER_SECONDS)
            start_connecting(puncher, dialler.getsockname())
            ports = 0, 0
            while ports[1] != dialler.getsockname()[1]:
                ports = struct.unpack_from("!HH", seen.recv(100), 20)
            yield puncher, (str(receiver.public_address), ports[0])


@contextmanager
def connected(site: Host, listener: socket.socket, port: int = 0) -> Iterator[Endpoint]:
    """A connection from a site's port to a listener; where it comes from."""
    with make_socket(site, port) as dialler:
        start_connecting(dialler, listener.getsockname())
        accepted, mapped = listener.accept()
        with accepted:
            yield mapped
