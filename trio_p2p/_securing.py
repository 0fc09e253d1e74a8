"""What both peers do with a connection before any byte of a session travels over it."""

from __future__ import annotations

import ssl
from contextlib import suppress
from functools import lru_cache, partial

import trio

from ._credentials import peer_id_of_untrusted
from ._errors import P2PError, PathLostError, Technique, WrongPeerError
from ._identity import Identity
from ._introduction import PeerConnection
from ._net.sockets import local_endpoint, remote_endpoint
from ._peer_id import PeerId
from ._stream.path import Path
from ._stream.stream_path import PathKind, StreamPath
from ._stream.tls import make_context

HANDSHAKE_TIME = 10.0  # seconds; a round trip, with room for retransmitted segments
MAX_PREPARED = 64  # peers that one is ready for, at 18 KiB each


class Securer:
    """Encrypts the connections of one identity.

    Args:
        identity: ours.
        server_side: which role we have in TLS. The sender is the client, whoever connected.
    """

    def __init__(self, identity: Identity, *, server_side: bool) -> None:
        self._server_side = server_side
        prepare = partial(_prepare_untrusted, identity, server_side=server_side)
        self._prepared = lru_cache(MAX_PREPARED)(prepare)

    def prepare(self, certificate: bytes) -> None:
        """Do what needs no connection yet: it takes a millisecond, better spent while one comes.

        Args:
            certificate: the peer's, as the broker says; :meth:`secure` complains if it is none.
        """
        with suppress(P2PError, OSError):
            self._prepared(certificate)

    async def secure(
        self, connection: PeerConnection, expected: PeerId | None = None
    ) -> tuple[Path, StreamPath, PeerId]:
        """Encrypt a connection, and make sure of who is at its other end.

        Args:
            connection: what came of an introduction; it is ours from now on.
            expected: who it has to be, if we know.

        Returns:
            The path, what there is to say of it, and who the peer is.

        Raises:
            WrongPeerError: it is somebody else.
            P2PError: it could not be found out.

        If cancelled, the connection is closed.
        """
        try:
            peer_id, context = self._prepared(connection.certificate)
            if expected not in (None, peer_id):
                raise WrongPeerError(
                    f"{expected} was to be connected to, but the broker gave the certificate of "
                    f"{peer_id}: somebody else has taken the name, or the broker lies"
                )
            path = Path(
                connection.stream,
                context,
                server_side=self._server_side,
                peer_certificate=connection.certificate,
                received=connection.received,
            )
            with trio.move_on_after(HANDSHAKE_TIME):
                await path.do_handshake()
                return path, _describe(connection), peer_id
            raise PathLostError("the other side did not answer TLS's handshake in time")
        except (trio.BrokenResourceError, OSError) as error:
            connection.close()
            if isinstance(error.__cause__, WrongPeerError):
                raise error.__cause__ from None
            raise PathLostError(f"the connection broke during TLS's handshake: {error}") from error
        except BaseException:
            connection.close()
            raise


def _prepare_untrusted(
    identity: Identity, certificate: bytes, *, server_side: bool
) -> tuple[PeerId, ssl.SSLContext]:
    peer_id = peer_id_of_untrusted(certificate)
    return peer_id, make_context(identity, certificate, server_side=server_side)


def _describe(connection: PeerConnection) -> StreamPath:
    kind = PathKind.RELAY if connection.technique is Technique.RELAY else PathKind.DIRECT
    sock = connection.stream.socket
    return StreamPath(kind, connection.technique, local_endpoint(sock), remote_endpoint(sock))
