"""What systemd and a service that it runs say to each other: sockets, readiness, a watchdog.

The protocols are those of ``sd_notify(3)`` and ``sd_listen_fds(3)``.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

import attrs
import trio

from .._broker.serve import Listening
from .._errors import LocalProtocolError

FIRST_DESCRIPTOR = 3
FOR_PROBES = "probes"  # what FileDescriptorName= calls the sockets of the second port


@attrs.frozen
class Notifier:
    """Tells systemd how the service does; nothing if it was not started by systemd.

    Attributes:
        address: where to send that; empty for nowhere.
    """

    address: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Notifier:
        """The one that the environment asks for."""
        return cls(environment.get("NOTIFY_SOCKET", ""))

    def ready(self) -> None:
        """The broker serves."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The settings are read again; :meth:`ready` says that they are."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The broker is being stopped."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """What ``systemctl status`` shows."""
        self._send(f"STATUS={text}")

    async def watch(self, interval: float | None) -> None:
        """Say that the event loop is alive, twice in an interval, until cancelled."""
        while interval is not None:
            self._send("WATCHDOG=1")
            await trio.sleep(interval / 2)

    def _send(self, text: str) -> None:
        if not self.address:
            return
        # An abstract socket is written with @ in the place of the zero byte.
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        # Without waiting: the broker is not to stand still because systemd does.
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
        ):
            sock.sendto(text.encode(), address)


def watchdog_interval(environment: Mapping[str, str]) -> float | None:
    """In how many seconds systemd wants to hear of the service; None if it does not."""
    text = environment.get("WATCHDOG_USEC", "")
    is_for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(text) / 1_000_000 if text.isdecimal() and int(text) and is_for_us else None


def inherited_listeners(environment: Mapping[str, str]) -> Listening | None:
    """The sockets that systemd listens on for the service; None if there are none.

    Raises:
        LocalProtocolError: one of them is no TCP socket that listens, or all are for probes.
    """
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal() or count == "0":
        return None
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    listening = Listening([])
    for index in range(int(count)):
        listener = _listener(FIRST_DESCRIPTOR + index)
        is_for_probes = names[index : index + 1] == [FOR_PROBES]
        (listening.for_probes if is_for_probes else listening.listeners).append(listener)
    if not listening.listeners:
        for listener in listening.for_probes:
            listener.socket.close()
        raise LocalProtocolError(
            f"systemd has handed over sockets for probes only: of the main port's, "
            f"FileDescriptorName= must not be {FOR_PROBES!r}"
        )
    return listening


def _listener(descriptor: int) -> trio.SocketListener:
    try:
        sock = socket.socket(fileno=os.dup(descriptor))
    except OSError as error:
        raise LocalProtocolError(_is_none(descriptor, error.strerror or "")) from error
    os.close(descriptor)
    os.set_inheritable(sock.fileno(), False)
    is_listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not is_listening:
        sock.close()
        raise LocalProtocolError(_is_none(descriptor, "ListenStream= with a port makes one"))
    sock.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _is_none(descriptor: int, why: str) -> str:
    return (
        f"descriptor {descriptor}, which systemd has handed over, is no TCP socket that listens "
        f"({why})"
    )
