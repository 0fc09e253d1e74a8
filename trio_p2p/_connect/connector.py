"""Opens streams to receivers: sessions that are kept supplied with paths, and raw connections."""

from __future__ import annotations

import secrets
from contextlib import AbstractAsyncContextManager
from functools import cached_property, partial

import trio

from .._attempt import Technique
from .._broker_client.relay import ask_for_relay
from .._broker_client.resolve import IP_VERSIONS
from .._errors import LocalProtocolError
from .._identity.peer_id import PeerId
from .._nat.local_network import LocalNetwork
from .._open_streams import OpenStreams
from .._options import RELAY_ONLY, PeerOptions, direct_techniques
from .._peer_connection import OnAttempt, PeerConnection
from .._stream.carrier import Carrier
from .._stream.frames import SESSION_ID_BYTES
from .._stream.p2p_stream import P2PStream
from .._stream.session import Role, Session
from .._stream.stream_path import PathKind
from .._stream.tls import Context, make_context
from .._wire.messages import StreamKind
from .direct import open_by_any_ip
from .link_pool import LinkPool
from .path_finder import PathFinder
from .patience import retry_while_busy
from .rounds import Search
from .secured import Dial
from .watcher import Registrations, Watcher


class Connector:
    """Opens streams to the receivers that the broker knows.

    Args:
        options: the peer's.
        streams: where opened streams belong.
    """

    def __init__(self, options: PeerOptions, streams: OpenStreams) -> None:
        self._options = options
        self._streams = streams
        self._links = LinkPool(options.broker, options.techniques, streams.nursery)
        self._watcher = Watcher(options.broker, streams.nursery)
        self._local_network = {ip_version: LocalNetwork() for ip_version in IP_VERSIONS}

    @cached_property
    def _context(self) -> Context:
        return make_context(self._options.identity)  # which raw streams do not want

    def watch(self, uid: str) -> AbstractAsyncContextManager[Registrations]:
        """Watch who registers under a UID."""
        return self._watcher.watch(uid)

    async def open_raw(self, uid: str) -> trio.SocketStream:
        """Connect directly, and leave the connection as it is; like :meth:`open_session`."""
        direct = direct_techniques(self._options.techniques)
        if not direct:
            raise LocalProtocolError(RELAY_ONLY)
        connection = await self._dial(uid, direct, StreamKind.RAW, self._tell_of(uid))
        return connection.stream

    async def open_session(self, uid: str, expected: PeerId | None) -> P2PStream:
        """Open a stream.

        Args:
            uid: the receiver's.
            expected: the peer id that the receiver has to have; any if None.

        Raises:
            P2PError: as :meth:`Peer.open_stream`.

        If cancelled, everything that was under way is closed.
        """
        options = self._options
        direct = direct_techniques(options.techniques)
        dials: dict[PathKind, Dial] = {}
        if direct:
            dials[PathKind.DIRECT] = partial(self._dial, uid, direct, StreamKind.SESSION)
        if Technique.RELAY in options.techniques:
            dials[PathKind.RELAY] = partial(self._dial_relay, uid)
        session = Session(
            Role.OPENER,
            secrets.token_bytes(SESSION_ID_BYTES),
            options.window,
            trio.current_time(),
        )
        carrier = Carrier(session, options.grace, self._streams.nursery)
        path_finder = PathFinder(
            carrier,
            self._context,
            expected,
            dials,
            self._tell_of(uid),
            watch=partial(self._watcher.watch, uid),
        )
        self._streams.nursery.start_soon(path_finder.run)
        try:
            peer_id = await path_finder.wait_found()
        except BaseException:
            carrier.end()
            raise
        stream = P2PStream(carrier, peer_id)
        self._streams.add(stream)
        return stream

    def _tell_of(self, uid: str) -> OnAttempt:
        return partial(self._options.tracer.attempt_ended, uid)

    async def _dial_relay(self, uid: str, on_attempt: OnAttempt) -> PeerConnection:
        options = self._options
        ask = partial(ask_for_relay, options.broker, uid, options.identity.certificate, on_attempt)
        return await retry_while_busy(ask)

    async def _dial(
        self,
        uid: str,
        techniques: tuple[Technique, ...],
        kind: StreamKind,
        on_attempt: OnAttempt,
    ) -> PeerConnection:
        identity, port_guessing = self._options.identity, self._options.port_guessing
        for ip_version, local_network in self._local_network.items():
            self._local_network[ip_version] = local_network.here()
        search = Search(kind, identity, on_attempt, self._local_network, port_guessing)
        host, _ = self._options.broker
        return await open_by_any_ip(host, uid, techniques, search, self._links.open_in_round)
