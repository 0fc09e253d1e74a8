"""Identities for those who use Python's own ``ssl``, which loads keys from files only."""

import ssl
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trio_p2p import Identity

# Both processes of a benchmark have to know both; nothing is protected by them.
CLIENT, SERVER = (
    Identity(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)) for number in (1, 2)
)


def load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    """Have a context prove an identity."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(identity.certificate_pem() + identity.private_key_pem())
        file.flush()
        context.load_cert_chain(file.name)


def make_client_context() -> ssl.SSLContext:
    """Return the context of the side that connects, which accepts no other server."""
    return _make_context(ssl.PROTOCOL_TLS_CLIENT, CLIENT, SERVER)


def make_server_context() -> ssl.SSLContext:
    """Return the context of the side that is connected to, which accepts no other client."""
    return _make_context(ssl.PROTOCOL_TLS_SERVER, SERVER, CLIENT)


def _make_context(protocol: int, identity: Identity, peer: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=peer.certificate)
    load_identity(context, identity)
    return context


SSLStream: TypeAlias = "trio.SSLStream[trio.SocketStream]"


async def open_ssl_stream(address: tuple[str, int]) -> SSLStream:
    """Connect to the server."""
    stream = await trio.open_tcp_stream(*address)
    return trio.SSLStream(stream, make_client_context())


async def serve_ssl(
    handler: Callable[[SSLStream], Awaitable[object]],
    host: str,
    *,
    task_status: trio.TaskStatus[int],
) -> None:
    """Be the server, on some port, with which this starts."""
    context = make_server_context()
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_ssl_over_tcp, handler, 0, context, host=host)
        [listener] = await nursery.start(serve)
        task_status.started(listener.transport_listener.socket.getsockname()[1])
