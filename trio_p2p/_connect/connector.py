"""Opens streams to receivers: sessions that are kept supplied with paths, and raw connections."""

from __future__ import annotations

import secrets
from functools import cached_property, partial

import trio

from .._attempt import Technique
from .._broker_client.relay import ask_for_relay
from .._broker_client.resolve import IP_VERSIONS
from .._identity.peer_id import PeerId
from .._nat.local_network import LocalNetwork
from .._options import SenderOptions, parse_path
from .._peer_connection import OnAttempt, PeerConnection
from .._stream.carrier import Carrier
from .._stream.frames import SESSION_ID_BYTES
from .._stream.p2p_stream import P2PStream
from .._stream.session import Role, Session
from .._stream.stream_path import PathKind
from .._stream.tls import Context, make_context
from .._wire.messages import StreamKind
from .direct import open_by_any_ip
from .path_finder import PathFinder
from .patience import retry_while_busy
from .rounds import Search, OpenInRound
from .secured import Dial
from .watcher import Watcher


class Connector:
    """Opens streams to the receivers that the broker knows.

    Args:
        options: what all streams have in common.
        nursery: owns the tasks that keep the streams alive.
        open_in_round: gives the direct connection of one round, or None if none came of it.
    """

    def __init__(
        self, options: SenderOptions, nursery: trio.Nursery, open_in_round: OpenInRound
    ) -> None:
        self._options = options
        self._nursery = nursery
        self._open_in_round = open_in_round
        self._watcher = Watcher(options.broker, nursery)
        self._local_network = {ip_version: LocalNetwork() for ip_version in IP_VERSIONS}

    @cached_property
    def _context(self) -> Context:
        return make_context(self._options.identity)  # which raw streams do not want

    async def open_raw(self, uid: str, on_attempt: OnAttempt | None) -> trio.SocketStream:
        """Connect directly, and leave the connection as it is; like :meth:`open_session`."""
        direct = parse_path("direct", self._options.techniques)
        connection = await self._dial(uid, direct, StreamKind.RAW, on_attempt)
        return connection.stream

    async def open_session(
        self, uid: str, expected: PeerId | None, path: str, on_attempt: OnAttempt | None
    ) -> P2PStream:
        """Open a stream.

        Args:
            uid: the receiver's.
            expected: the peer id that the receiver has to have; any if None.
            path: which paths the stream may take, as :func:`parse_path` knows them.
            on_attempt: told of each attempt to connect when it has ended.

        Raises:
            LocalProtocolError: there is no such path.
            P2PError: as :func:`open_p2p_stream`.

        If cancelled, everything that was under way is closed.
        """
        options = self._options
        chosen = parse_path(path, options.techniques)
        direct = tuple(technique for technique in chosen if technique is not Technique.RELAY)
        dials: dict[PathKind, Dial] = {}
        if direct:
            dials[PathKind.DIRECT] = partial(self._dial, uid, direct, StreamKind.SESSION)
        if Technique.RELAY in chosen:
            dials[PathKind.RELAY] = partial(self._dial_relay, uid)
        session = Session(
            Role.OPENER,
            secrets.token_bytes(SESSION_ID_BYTES),
            options.window,
            trio.current_time(),
        )
        carrier = Carrier(session, options.grace, self._nursery)
        path_finder = PathFinder(
            carrier,
            self._context,
            expected,
            dials,
            on_attempt,
            watch=partial(self._watcher.watch, uid),
        )
        self._nursery.start_soon(path_finder.run)
        try:
            peer_id = await path_finder.wait_found()
        except BaseException:
            carrier.end()
            raise
        return P2PStream(carrier, peer_id)

    async def _dial_relay(self, uid: str, on_attempt: OnAttempt) -> PeerConnection:
        options = self._options
        ask = partial(ask_for_relay, options.broker, uid, options.identity.certificate, on_attempt)
        return await retry_while_busy(ask)

    async def _dial(
        self,
        uid: str,
        techniques: tuple[Technique, ...],
        kind: StreamKind,
        on_attempt: OnAttempt | None,
    ) -> PeerConnection:
        identity, port_guessing = self._options.identity, self._options.port_guessing
        for ip_version, local_network in self._local_network.items():
            self._local_network[ip_version] = local_network.here()
        search = Search(kind, identity, on_attempt, self._local_network, port_guessing)
        host, _ = self._options.broker
        return await open_by_any_ip(host, uid, techniques, search, self._open_in_round)
