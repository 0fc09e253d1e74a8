"""``trio-p2p forward``: local ports that lead to the services of a peer, through NATs."""

from __future__ import annotations

import argparse
import errno
import logging
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack

import trio

from .._addresses import endpoint_of
from .._broker_client.place import BrokerPlace
from .._errors import P2PError, UnknownUIDError
from .._net.listening import open_listeners
from .._net.log_limit import RepeatedLine
from .._net.system import current_system
from .._peer.peer import Peer
from .._stream.p2p_connection import P2PConnection
from .._stream.p2p_stream import P2PStream
from .._stream.stream_path import StreamPath
from .._stream.tracer import Tracer
from .arguments import checked_by
from .joint import join
from .named_receiver import receiver_named
from .peer_options import brokers_of, grace_of, open_peer_as_told
from .resets import Resets, reset
from .run import CommandError, UsageError, tell_user
from .service_list import ask_for_services, missing_service_error
from .services import Entrance, name_of_service, parse_entrance
from .ticket import follow_ticket, parse_uid_or_ticket
from .trusted_receiver import TrustedReceiver

logger = logging.getLogger("trio_p2p.forward")

_LOOPBACK = ("127.0.0.1", "::1")


def add_forward_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = "Has local ports lead to TCP services that a peer exposes."
    parser.add_argument(
        "port",
        metavar="[NAME=]PORT",
        type=checked_by(parse_entrance),
        help="a local port, 0 for any, and the service's name, if any",
    )
    parser.add_argument(
        "first_uid",
        metavar="UID",
        type=checked_by(parse_uid_or_ticket),
        help="what the peer exposes, or its code or ticket",
    )
    parser.add_argument(
        "more", metavar="[NAME=]PORT UID", nargs="*", help="more ports, each with its UID"
    )
    parser.add_argument(
        "--bind",
        metavar="HOST",
        action="append",
        help="let other hosts in at this address; may be repeated",
    )
    parser.set_defaults(raw=False)


async def forward(options: argparse.Namespace) -> None:
    """Pass connections on until cancelled.

    The peers are connected to at once, so that the user learns of what is wrong. Programs that come
    earlier wait in the ports' backlogs.
    """
    pairs = _pairs(options)
    current_system().raise_descriptor_limit()
    async with AsyncExitStack() as stack:
        resets = Resets()
        receivers = await _open_receivers(stack, options, [uid for _, uid in pairs])
        opened: list[tuple[_Forwarder, list[trio.SocketListener]]] = []
        for entrance, uid in pairs:
            forwarder = _Forwarder(receivers[uid], entrance.name, grace_of(options), resets)
            listeners = await _listen_at(entrance.port, options.bind)
            for listener in listeners:
                await stack.enter_async_context(listener)
            opened.append((forwarder, listeners))
        for uid, receiver in receivers.items():
            names = [entrance.name for entrance, other_uid in pairs if other_uid == uid]
            await _meet(receiver, names, wait=options.wait)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resets.run)
            for forwarder, listeners in opened:
                nursery.start_soon(trio.serve_listeners, forwarder.handle, listeners)
                tell_user(f"{forwarder} is at {_places(listeners)}")


def _pairs(options: argparse.Namespace) -> list[tuple[Entrance, str]]:
    more: list[str] = options.more
    if len(more) % 2:
        raise UsageError(f"the port {more[-1]!r} has no UID behind it: give PORT UID for each")
    pairs: list[tuple[Entrance, str]] = [(options.port, options.first_uid)]
    pairs += [
        (parse_entrance(port), parse_uid_or_ticket(uid))
        for port, uid in zip(more[::2], more[1::2], strict=True)
    ]
    ports = [entrance.port for entrance, _ in pairs if entrance.port]
    if len(set(ports)) < len(ports):
        raise UsageError("two services want the same local port: give each another one")
    return pairs


async def _open_receivers(
    stack: AsyncExitStack, options: argparse.Namespace, uids: Iterable[str]
) -> dict[str, TrustedReceiver]:
    """The receivers of UIDs, codes and tickets, at the brokers of the ticket, or the user's.

    Args:
        stack: what is left at the end.
        options: of the command line.
        uids: what the user has given as UIDs.
    """
    tracer = _LostPaths()
    peers: dict[Sequence[BrokerPlace], Peer] = {}
    receivers: dict[str, TrustedReceiver] = {}
    for uid in dict.fromkeys(uids):
        its_options = argparse.Namespace(**vars(options), uid=uid)
        follow_ticket(its_options)
        brokers = tuple(brokers_of(its_options))
        if brokers not in peers:
            opening = open_peer_as_told(its_options, tracer=tracer)
            peers[brokers] = await stack.enter_async_context(opening)
        receivers[uid] = await receiver_named(peers[brokers], its_options.uid, its_options)
    return receivers


async def _meet(receiver: TrustedReceiver, names: Iterable[str], *, wait: bool) -> None:
    """Connect to a peer, and make sure that it exposes services, as far as it tells.

    Raises:
        CommandError: it does not, or does not admit us.
        P2PError: as :meth:`Peer.connect`.
    """
    await receiver.connect(wait=wait)
    exposed = await ask_for_services(receiver, wait=wait)
    if exposed is None:
        tell_user(
            f"the peer of {receiver.uid!r} does not say what it exposes: the first connection will "
            "show whether the service is there"
        )
        return
    for name in names:
        if name not in exposed:
            raise missing_service_error(receiver.uid, name, exposed)


async def _listen_at(port: int, hosts: Sequence[str] | None) -> list[trio.SocketListener]:
    """Listen on one port of all hosts, or of loopback, as far as it has both versions of IP."""
    try:
        try:
            return await open_listeners(port, hosts or _LOOPBACK)
        except OSError as error:
            if hosts or error.errno != errno.EADDRNOTAVAIL:
                raise
            return await open_listeners(port, _LOOPBACK[:1])
    except OSError as error:
        where = f"port {port}" if hosts is None else f"port {port} of {' and '.join(hosts)}"
        raise CommandError(
            f"{where} cannot be listened on ({error.strerror}): choose another one"
        ) from error


def _places(listeners: Sequence[trio.SocketListener]) -> str:
    return " and ".join(str(endpoint_of(each.socket.getsockname())) for each in listeners)


class _LostPaths(Tracer):
    """Says that a peer cannot be reached for the time being."""

    def __init__(self) -> None:
        self._line = RepeatedLine(logger, logging.WARNING)

    def path_changed(self, connection: P2PConnection, path: StreamPath | None) -> None:
        """Say it if there is no path."""
        if path is None and not connection.is_over:
            text = "no path leads to %s now: connections wait for another one"
            self._line.say(trio.current_time(), text, connection.peer_id)


class _Forwarder:
    """Joins local connections with streams to a service.

    Args:
        receiver: the peer that exposes it.
        protocol: its name there.
        patience: for how many seconds a connection waits for the peer.
        resets: tells of resets of connections.
    """

    def __init__(
        self, receiver: TrustedReceiver, protocol: str, patience: float, resets: Resets
    ) -> None:
        self._receiver = receiver
        self._protocol = protocol
        self._patience = patience
        self._resets = resets
        self._failures = RepeatedLine(logger, logging.WARNING)
        self._waits = RepeatedLine(logger, logging.WARNING)

    def __str__(self) -> str:
        return name_of_service(self._receiver.uid, self._protocol)

    async def handle(self, connection: trio.SocketStream) -> None:
        """Join a connection until it ends."""
        try:
            stream = await self._open_stream(connection)
            if stream is not None and (why := await join(connection, stream, self._resets)):
                self._failed(why)
        finally:
            reset(connection)  # unless it has ended well

    async def _open_stream(self, connection: trio.SocketStream) -> P2PStream | None:
        """A stream for a connection; if there is none, a line of the log says why."""
        try:
            with self._resets.cancelling_on_reset(connection):
                with trio.move_on_after(self._patience) as waiting:
                    return await self._open_when_there()
                if waiting.cancelled_caught:
                    self._failed(f"the peer did not come within {self._patience:g} s")
        except (P2PError, CommandError) as error:
            self._failed(error)
        return None

    async def _open_when_there(self) -> P2PStream:
        try:
            return await self._receiver.open_stream(protocol=self._protocol)
        except UnknownUIDError:
            text = "the peer of %s is away: connections wait for it"
            self._waits.say(trio.current_time(), text, self)
            return await self._receiver.open_stream(protocol=self._protocol, wait=True)

    def _failed(self, reason: object) -> None:
        now = trio.current_time()
        self._failures.say(now, "a connection to %s was reset: %s", self, reason)
