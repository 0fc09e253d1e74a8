"""Opens streams to receivers: sessions that are kept supplied with paths, and raw connections."""

from __future__ import annotations

import secrets
from functools import cached_property, partial

import trio

from .._attempt import Technique
from .._control.controls import Controls
from .._errors import LocalProtocolError
from .._identity.peer_id import PeerId
from .._options import RELAY_ONLY, direct_techniques
from .._stream.carrier import Carrier
from .._stream.frames import SESSION_ID_BYTES
from .._stream.p2p_stream import P2PStream
from .._stream.session import Session
from .._stream.states import SessionRole
from .._stream.stream_path import PathKind
from .._stream.tls import Context, make_context
from .._wire.messages import StreamKind
from .direct import DirectDialer
from .path_finder import PathFinder
from .relayed import RelayDialer
from .secured import Dialer, open_bare


class Connector:
    """Opens streams to the receivers that the broker knows.

    Args:
        controls: the connections to the broker.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._options = controls.options
        self._streams = controls.streams
        self._direct_techniques = direct_techniques(self._options.techniques)

    @cached_property
    def _context(self) -> Context:
        return make_context(self._options.identity)  # which raw streams do not want

    async def open_raw(self, uid: str) -> trio.SocketStream:
        """Connect directly, and leave the connection as it is; like :meth:`open_session`.

        It is handed over when the receiver has proven to be the one that the broker introduced.
        """
        if not self._direct_techniques:
            raise LocalProtocolError(RELAY_ONLY)
        dialer = DirectDialer(self._controls, uid, StreamKind.RAW)
        return await open_bare(dialer, partial(self._options.tracer.attempt_ended, uid))

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
        dialers: dict[PathKind, Dialer] = {}
        if self._direct_techniques:
            dialers[PathKind.DIRECT] = DirectDialer(self._controls, uid, StreamKind.SESSION)
        if Technique.RELAY in options.techniques:
            dialers[PathKind.RELAY] = RelayDialer(self._controls, uid)
        identifier = secrets.token_bytes(SESSION_ID_BYTES)
        session = Session(SessionRole.OPENER, identifier, options.window, trio.current_time())
        carrier = Carrier(session, options.grace, self._streams.nursery)
        path_finder = PathFinder(
            carrier, self._context, expected, dialers, uid=uid, controls=self._controls
        )
        self._streams.nursery.start_soon(path_finder.run)
        try:
            peer_id = await path_finder.wait_found()
        except BaseException:
            carrier.end()
            raise
        return self._streams.add(carrier, peer_id)
