"""Plays the clients of a server that is measured: blocking sockets that replay frames."""

import resource
import socket
import ssl

from . import frames

_RECEIVE_BYTES = 65_536


def connect(
    address: tuple[str, int],
    request: bytes,
    *,
    source: str | None = None,
    tls: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
) -> socket.socket:
    """A client that has sent its first request.

    Args:
        address: the server's.
        request: what to send.
        source: the client's own IP address.
        tls: to speak TLS with the server.
        session: a former connection's, to resume.
    """
    client = socket.create_connection(
        address, source_address=None if source is None else (source, 0)
    )
    if tls is not None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = tls.wrap_socket(client, session=session)
    client.sendall(request)
    return client


def receive(client: socket.socket) -> bytes:
    """What has come, at least one answer: over loopback none comes in pieces."""
    data = client.recv(_RECEIVE_BYTES)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def connect_receiver(
    address: tuple[str, int],
    number: int = 0,
    *,
    source: str | None = None,
    tls: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
) -> socket.socket:
    """A client that has registered; the arguments are those of :func:`connect`."""
    client = connect(address, frames.GREETING, source=source, tls=tls, session=session)
    challenge = frames.challenge_in(receive(client))
    client.sendall(frames.registration(challenge, number))
    receive(client)
    return client


def finish(client: socket.socket) -> None:
    """Close a client, and wait until the server has closed its side."""
    with client:
        client.shutdown(socket.SHUT_WR)
        while client.recv(_RECEIVE_BYTES):
            pass


def allow_descriptors(count: int) -> bool:
    """Whether this process and those it starts may open so many files, from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return count <= hard
