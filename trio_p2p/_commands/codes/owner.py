"""The side that has made a code: it admits the one peer that proves to know it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from ..._errors import RemoteProtocolError, UIDTakenError
from ..._identity.peer_id import PeerId
from ..._listen.listener import P2PListener
from ..._listen.serving import serve_streams
from ..._net.log_limit import RepeatedLine
from ..._net.nursery import open_background_nursery
from ..._peer.peer import Peer
from ..._stream.p2p_stream import P2PStream
from ..run import CommandError
from .code import Code
from .exact import receive_exactly
from .pairing import CONFIRMATION_BYTES, ELEMENT_BYTES, PROTOCOL, Pairing, Side, require_codes

logger = logging.getLogger("trio_p2p.code")

TRY_TIME = 30.0  # seconds for one try, in which nothing waits for a user
MAX_TRIES_AT_ONCE = 16
# That may break off before the code is over: SPAKE2 is computed in Python, some 3 µs longer for
# each bit that is set in a number made of the code. So few measurements do not tell how many are.
MAX_UNPROVEN_TRIES = 64
MAX_NUMBERS = 5  # that are asked for until one is free


class CodeOwner:
    """What has made a code.

    A wrong guess ends the code: see :func:`open_code`. Tries that break off before they guess tell
    the peer nothing but how long they take; very many of them end the code.

    Args:
        code: the code.
        peer_id: our peer id.
    """

    def __init__(self, code: Code, peer_id: PeerId) -> None:
        self.code = code
        self._peer_id = peer_id
        self._proven: PeerId | None = None
        self._is_over = False
        self._tries = 0
        self._unproven_tries = 0
        self._nonsense = RepeatedLine(logger, logging.WARNING)

    def admits(self, peer_id: PeerId) -> bool:
        """Whether a peer has proven to know the code."""
        return peer_id == self._proven

    def may_try(self, peer_id: PeerId) -> bool:
        """Whether a peer may prove that it knows the code: once one has, only that one."""
        return self._proven in (None, peer_id)

    async def hear(self, stream: P2PStream) -> None:
        """Let a peer try.

        Raises:
            CommandError: its guess was wrong, or there were too many tries, and the code is over.
        """
        self._count_try(stream)
        if self._tries == MAX_TRIES_AT_ONCE:
            stream.abort("too many peers try the code")
            return
        self._tries += 1
        try:
            with trio.move_on_after(TRY_TIME) as limit:
                await self._hear(stream)
            if limit.cancelled_caught:
                stream.abort(f"the code was not proven within {TRY_TIME:g} s")
        except RemoteProtocolError as error:
            stream.abort(str(error))
            self._nonsense.say(trio.current_time(), "%s: %s", stream.peer_id, error)
        finally:
            self._tries -= 1

    def _count_try(self, stream: P2PStream) -> None:
        if self._proven is not None:
            return
        self._unproven_tries += 1
        if self._unproven_tries > MAX_UNPROVEN_TRIES:
            self._is_over = True
            stream.abort("the code is over")
            raise CommandError(
                f"{MAX_UNPROVEN_TRIES} tries at the code have broken off, as if a program were "
                "guessing, so the code is over; start again for a new one"
            )

    async def _hear(self, stream: P2PStream) -> None:
        peer_id = stream.peer_id
        pairing = Pairing(Side.OWNER, self.code, opener=peer_id, owner=self._peer_id)
        await stream.send_all(pairing.element)
        confirmation = pairing.hear_element_untrusted(await receive_exactly(stream, ELEMENT_BYTES))
        guess = await receive_exactly(stream, CONFIRMATION_BYTES)
        # From here to the verdict no other try is heard.
        if self._is_over or not self.may_try(peer_id):
            stream.abort("the code is over")
        elif pairing.is_right(guess):
            self._proven = peer_id
            await stream.send_all(confirmation)
            await stream.aclose()
        elif self._proven is None:
            self._is_over = True
            stream.abort("the code is wrong")
            raise CommandError(
                f"{peer_id} has tried a wrong code, so the code is over, and nothing was given to "
                "it: it was mistyped or guessed; start again for a new code"
            )
        else:
            stream.abort("the code is wrong")


@asynccontextmanager
async def open_code(peer: Peer) -> AsyncGenerator[CodeOwner]:
    """Make a code, and hear what peers try until the block is left.

    Use as an async context manager. Listen under the code's UID inside of the block, and admit
    by :meth:`CodeOwner.admits`. A peer tries first and opens other streams then, and is asked for
    with the first stream of each listener: so the order of the listeners counts.

    Args:
        peer: listens.

    Yields:
        The :class:`CodeOwner`.

    Raises:
        CommandError: what codes need is not installed.
        P2PError: as :meth:`Peer.listen`.
        ExceptionGroup: with a CommandError: a guess was wrong, or there were too many tries. The
            block was cancelled.
    """
    require_codes()
    async with AsyncExitStack() as stack:
        owner, listener = await _listen(peer, stack)
        nursery = await stack.enter_async_context(open_background_nursery())
        nursery.start_soon(serve_streams, listener, owner.hear, None)
        yield owner


async def _listen(peer: Peer, stack: AsyncExitStack) -> tuple[CodeOwner, P2PListener[P2PStream]]:
    for left in reversed(range(MAX_NUMBERS)):
        owner = CodeOwner(Code.make(), peer.peer_id)
        listening = peer.listen(owner.code.uid, protocol=PROTOCOL, admit=owner.may_try)
        try:
            return owner, await stack.enter_async_context(listening)
        except UIDTakenError:
            if not left:
                raise
    raise AssertionError  # the last one returns or raises
