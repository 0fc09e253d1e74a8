"""Which services a peer exposes: ``forward`` asks first, and so says at once what is wrong.

The answer comes over a stream of a protocol of its own. A stream to the service itself would be a
connection to it, which not every service takes as nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from .._errors import NotAdmittedError, RemoteProtocolError, UnknownProtocolError
from .._stream.p2p_stream import P2PStream
from .._wire.uids import check_protocol
from .answering import PROTOCOLS_OF_TOOLS
from .cut import broken_error
from .run import CommandError
from .trusted_receiver import TrustedReceiver

SERVICES = f"{PROTOCOLS_OF_TOOLS}services"
MAX_LIST_BYTES = 1_048_576
ANSWER_TIME = 30.0  # seconds
MAX_SHOWN = 10  # names in one sentence


async def tell_services(names: Iterable[str], stream: trio.abc.SendStream) -> None:
    """Tell a peer the names of services, a line for each."""
    await stream.send_all("".join(f"{name}\n" for name in names).encode())


async def ask_for_services(
    receiver: TrustedReceiver, *, wait: bool = False
) -> frozenset[str] | None:
    """The names of the services that a peer exposes; the empty name is that of the default one.

    Args:
        receiver: the peer.
        wait: whether to wait, if need be, until it is there.

    Returns:
        The names, or None if the peer does not run ``expose``.

    Raises:
        CommandError: it does not admit us, does not answer, or the connection broke.
        P2PError: as :meth:`Peer.open_stream`.
    """
    stream = await receiver.open_stream(protocol=SERVICES, wait=wait)
    with trio.move_on_after(ANSWER_TIME):
        async with stream:
            try:
                return parse_services_untrusted(await _receive_all_untrusted(stream))
            except trio.BrokenResourceError as error:
                if isinstance(error.__cause__, UnknownProtocolError):
                    return None
                if isinstance(error.__cause__, NotAdmittedError):
                    raise CommandError(
                        f"{error.__cause__}: give this peer id to --admit on the other side"
                    ) from error
                raise broken_error(error) from error
    raise CommandError(
        f"the peer of {receiver.uid!r} has not said within {ANSWER_TIME:g} s what it exposes"
    )


async def _receive_all_untrusted(stream: P2PStream) -> bytes:
    received = bytearray()
    async for data in stream:
        received += data
        if len(received) > MAX_LIST_BYTES:
            raise RemoteProtocolError("the peer names more services than anyone has")
    return bytes(received)


def parse_services_untrusted(data: bytes) -> frozenset[str]:
    """The names in a list of services.

    Raises:
        RemoteProtocolError: it is none.
    """
    try:
        names = data.decode().split("\n")
        if names.pop():
            raise ValueError("a name is not complete")
        return frozenset(map(check_protocol, names))
    except ValueError:
        raise RemoteProtocolError("the peer names services as `expose` does not") from None


def missing_service_error(uid: str, name: str, exposed: Iterable[str]) -> CommandError:
    """What to say if a peer does not expose a service.

    Args:
        uid: the peer's UID.
        name: the name of the service; empty for the default one.
        exposed: the names of those that it exposes.
    """
    named = sorted(filter(None, exposed))
    there = ", ".join(map(repr, named[:MAX_SHOWN])) + ", …" * (len(named) > MAX_SHOWN)
    if name:
        advice = f"there is {there}" if named else "leave the name out"
        return CommandError(f"the peer of {uid!r} exposes no service {name!r}: {advice}")
    advice = f"put one of these names in front of the port: {there}" if named else "it has none"
    return CommandError(f"the peer of {uid!r} exposes no service without a name: {advice}")
