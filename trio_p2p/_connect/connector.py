"""Connects to receivers: connections that are kept supplied with paths, and raw ones."""

from __future__ import annotations

import secrets
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

import trio

from .._attempt import Technique
from .._control.controls import Controls
from .._errors import LocalProtocolError
from .._options import RELAY_ONLY, direct_techniques
from .._stream.frames import SESSION_ID_BYTES
from .._stream.p2p_connection import P2PConnection
from .._stream.p2p_stream import P2PStream
from .._stream.states import SessionRole
from .._stream.stream_frames import StreamNames
from .._stream.stream_path import PathKind
from .._wire.messages import StreamKind
from .direct import DirectDialer
from .path_finder import PathFinder
from .pool import Made, Pool, Target
from .relayed import RelayDialer
from .secured import Dialer, open_bare

if TYPE_CHECKING:
    from .._stream.tls import Context


class Connector:
    """Connects to the receivers that the broker knows.

    Args:
        controls: the connections to the broker.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._options = controls.options
        self._connections = controls.connections
        self._direct_techniques = direct_techniques(self._options.techniques)
        self._pool = Pool(self._connect, self._connections.nursery)

    @cached_property
    def _context(self) -> Context:
        from .._stream.tls import make_context  # noqa: PLC0415 - it says why

        return make_context(self._options.identity)  # which raw streams do not want

    async def open_raw(self, uid: str) -> trio.SocketStream:
        """Connect directly, and leave the connection as it is.

        It is handed over when the receiver has proven to be the one that the broker introduced.

        Raises:
            P2PError: as :meth:`Peer.open_raw_stream`.

        If cancelled, everything that was under way is closed.
        """
        if not self._direct_techniques:
            raise LocalProtocolError(RELAY_ONLY)
        dialer = DirectDialer(self._controls, uid, StreamKind.RAW)
        return await open_bare(dialer, self._options.tracer)

    async def open_stream(self, target: Target, protocol: str) -> P2PStream:
        """Open a stream over the connection to a receiver, perhaps a new one.

        Raises:
            P2PError: as :meth:`Peer.connect`.

        If cancelled, everything that was under way is closed.
        """
        while True:
            # Here, so that none is left between a new connection and its first stream.
            await trio.lowlevel.checkpoint()
            made = await self._pool.get(target)
            names = StreamNames("" if made.target.uid == target.uid else target.uid, protocol)
            # Else it was closed meanwhile: when the peer is left, this is cancelled.
            with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
                return await made.connection.open_named(names)
            made.connection.check_admitted()

    async def connect(self, target: Target) -> Made:
        """The connection to a receiver that is there, or else a new one.

        Raises:
            P2PError: as :meth:`Peer.connect`.

        If cancelled, and no other task waits for it, everything that was under way is closed.
        """
        return await self._pool.get(target)

    async def _connect(self, target: Target) -> P2PConnection:
        options, connections = self._options, self._connections
        dialers: dict[PathKind, Dialer] = {}
        if self._direct_techniques and target.kind is not PathKind.RELAY:
            dialers[PathKind.DIRECT] = DirectDialer(self._controls, target.uid, StreamKind.SESSION)
        if Technique.RELAY in options.techniques and target.kind is not PathKind.DIRECT:
            dialers[PathKind.RELAY] = RelayDialer(self._controls, target.uid)
        if not dialers:
            raise LocalProtocolError(
                f"this peer's techniques lead to no {target.kind} path: allow others"
            )
        connection = P2PConnection(
            SessionRole.OPENER,
            secrets.token_bytes(SESSION_ID_BYTES),
            self._controls.instance,
            options.limits,
            nursery=connections.nursery,
            tracer=options.tracer,
        )
        path_finder = PathFinder(
            connection.carrier,
            self._context,
            target.expected,
            dialers,
            uid=target.uid,
            controls=self._controls,
            pool=self._pool,
        )
        connections.nursery.start_soon(path_finder.run)
        try:
            connection.identify(await path_finder.wait_found())
        except BaseException:
            connection.carrier.end()
            raise
        connections.add(connection)
        return connection
