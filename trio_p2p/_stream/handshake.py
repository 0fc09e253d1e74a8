"""What both peers do with a connection before any byte of a stream travels over it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from .._attempt import Technique
from .._errors import PathLostError, WrongPeerError
from .._identity.certificate import peer_id_of_untrusted
from .._identity.peer_id import PeerId
from .._net.sockets import local_endpoint, remote_endpoint
from .._peer_connection import PeerConnection
from .path import Path
from .stream_path import PathKind, StreamPath

if TYPE_CHECKING:
    from .tls import Context

HANDSHAKE_TIME = 10.0  # seconds; a round trip, with room for retransmitted segments


async def confirm(connection: PeerConnection) -> trio.SocketStream:
    """Make sure that a connection leads to the introduced peer, and leave it as it is.

    Args:
        connection: what came of an introduction; it is ours from now on.

    Returns:
        The connection, from which nothing behind the peer's proof has been read.

    Raises:
        WrongPeerError: it leads to another peer.
        BusyError: the receiver has no room for the connection now.
        PathLostError: it could not be found out.

    If cancelled, the connection is closed.
    """
    with _closing_if_in_vain(connection, "its check"):
        with trio.move_on_after(HANDSHAKE_TIME):
            await connection.confirm()
            return connection.stream
        raise PathLostError("the other side did not prove itself in time")


async def secure(
    connection: PeerConnection,
    context: Context,
    *,
    server_side: bool,
    expected: PeerId | None = None,
) -> tuple[Path, StreamPath, PeerId]:
    """Encrypt a connection, and make sure which peer is at its other end.

    Args:
        connection: what came of an introduction; it is ours from now on.
        context: proves our identity.
        server_side: which role we have in TLS. The sender is the client, whichever side dialled.
        expected: who it has to be, if we know.

    Returns:
        The path, its description, and the peer id of the other side.

    Raises:
        WrongPeerError: it is another peer.
        BusyError: the receiver has no room for the connection now.
        P2PError: it could not be found out.

    If cancelled, the connection is closed.
    """
    with _closing_if_in_vain(connection, "TLS's handshake"):
        peer_id = peer_id_of_untrusted(connection.certificate)
        if expected not in (None, peer_id):
            raise WrongPeerError(
                f"the broker introduced another peer than the expected one: expected {expected}, "
                f"but the certificate is that of {peer_id}: check the peer id, and that the UID "
                "was not taken by another receiver",
                expected=expected,
                found=peer_id,
            )
        kind = PathKind.RELAY if connection.technique is Technique.RELAY else PathKind.DIRECT
        path = Path(
            connection.stream,
            context,
            server_side=server_side,
            peer_certificate=connection.certificate,
            received=connection.received,
        )
        sock = connection.stream.socket
        local, remote = connection.endpoints or (local_endpoint(sock), remote_endpoint(sock))
        described = StreamPath(kind, connection.technique, local, remote)
        with trio.move_on_after(HANDSHAKE_TIME):
            if not server_side:
                await path.start_handshake()  # behind our own proof: no round trip is spent
            await _confirm_expected(connection, expected)
            await path.do_handshake()
            return path, described, peer_id
        raise PathLostError("the other side did not answer TLS's handshake in time")


async def _confirm_expected(connection: PeerConnection, expected: PeerId | None) -> None:
    try:
        await connection.confirm()
    except WrongPeerError as error:
        raise WrongPeerError(str(error), expected=expected) from None


@contextmanager
def _closing_if_in_vain(connection: PeerConnection, during: str) -> Generator[None]:
    """Close a connection if the block fails or is cancelled."""
    try:
        yield
    except (trio.BrokenResourceError, OSError) as error:
        connection.close()
        raise PathLostError(f"the connection broke during {during}: {error}") from error
    except BaseException:
        connection.close()
        raise
