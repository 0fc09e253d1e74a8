"""What comes before the first message of a client: a proxy's header, and TLS's handshake."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeAlias

import attrs
import trio

from .._addresses import Endpoint
from .._errors import RemoteProtocolError
from .._net.log_limit import RepeatedLine
from .._net.sockets import local_endpoint, receive_exactly, remote_endpoint
from .._net.tls_carrier import TLSStream, free
from .ledger import OPENING_TIME
from .proxy_header import Proxied, ProxyHeader
from .tls import BrokerTLS

# A proxy sends its header as soon as it has connected.
HEADER_TIME: Final = 5.0  # seconds
MAX_HEADLESS: Final = 512  # connections of proxies at a time of which no header has come
_TLS_HANDSHAKE: Final = b"\x16"  # what TLS begins with (RFC 8446, 5.1); no frame of ours does

Network: TypeAlias = IPv4Network | IPv6Network

logger = logging.getLogger("trio_p2p.broker")
now = trio.current_time


@attrs.frozen
class Arrival:
    """A client that has yet to say its first message.

    Attributes:
        stream: what it says messages on.
        transport: its connection.
        remote: where it comes from.
        local: where it has come to.
        lacks_tls: whether it has come without TLS to a broker that speaks it.
        is_proxied: whether a proxy is in between.
    """

    stream: trio.SocketStream | TLSStream
    transport: trio.SocketStream
    remote: Endpoint
    local: Endpoint
    lacks_tls: bool = False
    is_proxied: bool = False


def plain_arrival(stream: trio.SocketStream) -> Arrival | None:
    """A client that says messages from the beginning; None if it is gone, and its stream closed."""
    sock = stream.socket
    try:
        return Arrival(stream, stream, remote_endpoint(sock), local_endpoint(sock))
    except OSError:
        sock.close()
        return None


class Arrivals:
    """Receives clients.

    Args:
        tls: what to speak TLS with, if with anything.
        proxies: the addresses of proxies, which say where a client comes from.

    Attributes:
        waiting: those that have yet to say a message, each with what ends it: they can be cut
            when there is no room for others.
        proxies: the argument of this name; may be replaced at any time.
    """

    def __init__(self, tls: BrokerTLS | None = None, proxies: Iterable[Network] = ()) -> None:
        self.waiting: dict[trio.CancelScope, Endpoint] = {}
        self.proxies: tuple[Network, ...] = tuple(proxies)
        self._headless: dict[trio.CancelScope, None] = {}  # the oldest first
        self._tls = tls
        self._failed = RepeatedLine(logger, logging.INFO)

    @property
    def are_plain(self) -> bool:
        """Whether clients say messages from the beginning."""
        return not self.proxies and self._context is None

    async def locate(self, stream: trio.SocketStream) -> Arrival | None:
        """Find out where a client comes from.

        No client counts for its source before, so there are few of them at a time.

        Args:
            stream: its connection.

        Returns:
            The client; None if it is gone, or its proxy has not said, and the stream closed.
        """
        arrival = plain_arrival(stream)
        if arrival is None or not any(arrival.remote.address in each for each in self.proxies):
            return arrival
        proxied = None
        try:
            with self._receiving(arrival.remote, HEADER_TIME) as scope:
                self._headless[scope] = None
                if len(self._headless) > MAX_HEADLESS:
                    oldest = next(iter(self._headless))
                    oldest.cancel(reason="its proxy does not say where it comes from")
                    del self._headless[oldest]
                try:
                    proxied = await self._named(arrival)
                finally:
                    self._headless.pop(scope, None)
        finally:
            if proxied is None:
                stream.socket.close()
        return proxied

    @asynccontextmanager
    async def secured(self, arrival: Arrival) -> AsyncGenerator[Arrival | None]:
        """Agree on TLS with a client, and speak it as long as the block lasts.

        Args:
            arrival: the client, whose connection is closed behind the block.

        Yields:
            The client, or None if it has not agreed.
        """
        try:
            context = self._context
            if context is None:
                yield arrival
                return
            encrypted = None
            with self._receiving(arrival.remote, OPENING_TIME):
                encrypted = await _secured(arrival, context)
            if encrypted is None or isinstance(encrypted, Arrival):
                yield encrypted
                return
            try:
                yield attrs.evolve(arrival, stream=encrypted)
            finally:
                free(encrypted)
        finally:
            arrival.transport.socket.close()

    @property
    def _context(self) -> ssl.SSLContext | None:
        return None if self._tls is None else self._tls.context

    @contextmanager
    def _receiving(self, remote: Endpoint, seconds: float) -> Generator[trio.CancelScope]:
        """Have a client that has yet to say a message do so in time; say what goes wrong."""
        with trio.move_on_after(seconds) as scope:
            self.waiting[scope] = remote
            try:
                yield scope
            except trio.BrokenResourceError as error:
                text = "client %s has not agreed on TLS: %s"
                self._failed.say(now(), text, remote, error.__cause__ or error)
            except (OSError, RemoteProtocolError) as error:
                self._failed.say(now(), "client %s did not arrive: %s", remote, error)
            finally:
                del self.waiting[scope]

    async def _named(self, arrival: Arrival) -> Arrival | None:
        """The client that a proxy says this is; None if it only looks whether the broker is there.

        Raises:
            RemoteProtocolError: it says nothing of that.
            OSError: the connection broke.
        """
        sock = arrival.transport.socket
        if not await sock.recv(1, socket.MSG_PEEK):
            return None
        proxied = await _read_header(sock)
        if proxied is None:
            return arrival
        return attrs.evolve(arrival, remote=proxied.source, local=proxied.target, is_proxied=True)


async def _secured(arrival: Arrival, context: ssl.SSLContext) -> TLSStream | Arrival | None:
    """What a client says in TLS; the client if it speaks none; None if it says nothing.

    Raises:
        trio.BrokenResourceError: it does not agree.
        OSError: the connection broke.
    """
    first = await arrival.transport.socket.recv(1, socket.MSG_PEEK)
    if not first:  # only a look whether the broker is there
        return None
    if first != _TLS_HANDSHAKE:
        return attrs.evolve(arrival, lacks_tls=True)
    stream = trio.SSLStream(arrival.transport, context, server_side=True)
    try:
        await stream.do_handshake()
    except BaseException:
        free(stream)
        raise
    return stream


async def _read_header(sock: trio.socket.SocketType) -> Proxied | None:
    """What a proxy says of its client; None if it speaks for itself.

    Raises:
        RemoteProtocolError: it says nothing of that.
        OSError: the connection broke.
    """
    header = ProxyHeader()
    while header.wanted:
        data = await receive_exactly(sock, header.wanted)
        if len(data) < header.wanted:
            raise RemoteProtocolError("the proxy has closed the connection")
        header.feed_untrusted(data)
    return header.proxied
