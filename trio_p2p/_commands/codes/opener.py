"""The side that was told a code: it proves to know it, and learns who has made it."""

from __future__ import annotations

import trio

from ..._errors import RemoteProtocolError, UnknownUIDError
from ..._identity.peer_id import PeerId
from ..._peer.peer import Peer
from ..._stream.p2p_stream import P2PStream
from ..run import CommandError
from .code import Code
from .exact import receive_exactly
from .owner import TRY_TIME
from .pairing import CONFIRMATION_BYTES, ELEMENT_BYTES, PROTOCOL, Pairing, Side, require_codes

_WRONG = (
    "the other side does not know this code: it was mistyped, it is over, or another program has "
    "come between; ask for a new one"
)


async def prove_code(peer: Peer, code: Code, *, wait: bool = False) -> PeerId:
    """Prove to the side that has made a code that we know it; who that is.

    It has proven the same: streams to the code's UID that expect this peer id lead to it.

    Args:
        peer: opens the stream.
        code: the code. It is tried once: after a failure it has to be taken for over.
        wait: whether to wait, if need be, until the other side is there.

    Raises:
        CommandError: the other side does not know the code, or does not answer; or what codes need
            is not installed.
        P2PError: as :meth:`Peer.open_stream`.
    """
    require_codes()
    try:
        stream = await peer.open_stream(code.uid, protocol=PROTOCOL, wait=wait)
    except UnknownUIDError as error:
        raise CommandError(
            f"nothing waits with the code {code.number}-…: it was mistyped, it is over, or the "
            "other side uses another broker"
        ) from error
    with trio.move_on_after(TRY_TIME):
        try:
            async with stream:
                await _prove(peer, code, stream)
        except (trio.BrokenResourceError, RemoteProtocolError) as error:
            raise CommandError(_WRONG) from error
        return stream.peer_id
    raise CommandError(f"the other side has not proven the code within {TRY_TIME:g} s")


async def _prove(peer: Peer, code: Code, stream: P2PStream) -> None:
    pairing = Pairing(Side.OPENER, code, opener=peer.peer_id, owner=stream.peer_id)
    await stream.send_all(pairing.element)
    confirmation = pairing.hear_element_untrusted(await receive_exactly(stream, ELEMENT_BYTES))
    await stream.send_all(confirmation)
    if not pairing.is_right(await receive_exactly(stream, CONFIRMATION_BYTES)):
        raise RemoteProtocolError("the confirmation is not that of the code")
