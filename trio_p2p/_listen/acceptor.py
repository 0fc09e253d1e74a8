"""What a receiver makes of a connection, and whom the streams over it are for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from .._errors import NotAdmittedError, PathLostError, StreamAbortedError
from .._identity.peer_id import PeerId
from .._peer_connection import PeerConnection
from .._stream.p2p_stream import P2PStream
from .._stream.stream_frames import ResetCode
from .probation import Probation
from .service import RawService, StreamService
from .sessions import Sessions

logger = logging.getLogger("trio_p2p.receiver")

_DRAINING = "the receiver is going to end, and takes no new streams"


class Accepting(Protocol):
    """What a registered name makes of connections."""

    async def take(self, connection: PeerConnection, probation: Probation) -> None:
        """Make streams of a connection.

        Args:
            connection: what came of an introduction; it is ours from now on.
            probation: the sender's time limit, which is lifted when it is admitted.

        Raises:
            P2PError: nothing comes of it.

        If cancelled, the connection is closed.
        """
        ...


class Acceptor:
    """Makes connections of peers for one UID, whose streams go to its services.

    Args:
        uid: the UID.
        sessions: the sessions of all UIDs.
        names: the acceptors of all UIDs, this one among them.

    Attributes:
        services: by protocol.
    """

    def __init__(self, uid: str, sessions: Sessions, names: Mapping[str, Acceptor]) -> None:
        self.services: dict[str, StreamService] = {}
        self._uid = uid
        self._sessions = sessions
        self._names = names

    async def take(self, connection: PeerConnection, probation: Probation) -> None:
        """Make a connection of it, or give it to the one that it is a path of.

        Raises:
            NotAdmittedError: the peer is not admitted.
            StreamAbortedError: no new streams are taken, or no more connections of the peer.
            SessionLostError: it belongs to a session that is over or not known.
            P2PError: the peer is not who it claims to be, or does not speak as it should.

        If cancelled, it is closed.
        """
        await self._sessions.take(connection, probation, self)

    def admits(self, peer_id: PeerId) -> bool:
        """Whether any service takes streams of a peer."""
        return any(service.admits(peer_id) for service in self.services.values())

    def dispatcher(self, peer_id: PeerId) -> Dispatcher:
        """What takes the streams of a new connection.

        Raises:
            NotAdmittedError: no service takes streams of the peer.
            StreamAbortedError: no new streams are taken from any peer.
            PathLostError: there is no service any more.
        """
        if not self.services:
            raise PathLostError("the listener was closed before it accepted the connection")
        if all(service.is_draining for service in self.services.values()):
            raise StreamAbortedError(_DRAINING)
        dispatcher = Dispatcher(self._uid, peer_id, self._names)
        if not any(map(dispatcher.admits, self.services.values())):
            raise NotAdmittedError(f"the receiver does not admit {peer_id}")
        return dispatcher

    def retire_if_drained(self) -> None:
        """Let peers know if no service takes new streams any more, and where they connected to."""
        if all(service.is_draining for service in self.services.values()):
            self._sessions.retire(self)


class Dispatcher:
    """Takes the streams that a peer opens over one connection to the services they are for.

    Args:
        uid: what the connection was opened for.
        peer_id: the peer.
        names: the acceptors, by UID.

    Attributes:
        used: the acceptors that streams were for.
    """

    def __init__(self, uid: str, peer_id: PeerId, names: Mapping[str, Acceptor]) -> None:
        self._uid = uid
        self._peer_id = peer_id
        self._names = names
        self.used: set[Acceptor] = set()
        self._admitted: dict[StreamService, bool] = {}
        self._services: dict[P2PStream, StreamService] = {}

    def take(self, stream: P2PStream) -> None:
        """Take a stream to the service that it is for, or reset it."""
        uid = stream.uid or self._uid
        acceptor = self._names.get(uid)
        if acceptor is None:
            stream.refuse(ResetCode.UNKNOWN_UID, f"nothing listens under {uid!r} here")
            return
        service = acceptor.services.get(stream.protocol)
        if service is None:
            text = f"the receiver {uid!r} does not serve the protocol {stream.protocol!r}"
            stream.refuse(ResetCode.UNKNOWN_PROTOCOL, text)
        elif service.is_draining:
            stream.refuse(ResetCode.DRAINING, _DRAINING)
        elif not self.admits(service):
            text = f"the receiver {uid!r} does not admit {self._peer_id}"
            stream.refuse(ResetCode.NOT_ADMITTED, text)
        else:
            self.used.add(acceptor)
            self._services[stream] = service
            service.take(stream)

    def admits(self, service: StreamService) -> bool:
        """Whether a service admits the peer; it is asked once."""
        if service not in self._admitted:
            self._admitted[service] = service.admits(self._peer_id)
        return self._admitted[service]

    def forget(self, stream: P2PStream) -> None:
        """A stream is over."""
        service = self._services.pop(stream, None)
        if service is not None:
            service.forget()


class RawAcceptor:
    """Passes connections on as they are.

    Args:
        service: where they go.
    """

    def __init__(self, service: RawService) -> None:
        self._service = service

    async def take(self, connection: PeerConnection, probation: Probation) -> None:
        """Pass a connection on."""
        probation.end()  # it has shown the proof of the introduction
        if self._service.is_draining:
            connection.close()
            return
        await self._service.take(connection.stream)
