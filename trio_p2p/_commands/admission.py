"""Under which UID a command listens, and whom it admits: as the user has said, or by a code."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs

from .._listen.service import Admit
from .._peer.peer import Peer
from .codes.owner import open_code
from .peer_options import admitted_by
from .run import UsageError, tell_user, tell_user_always
from .terminal import tied


@attrs.frozen
class Admission:
    """Whom to wait for.

    Attributes:
        uid: the UID to listen under.
        admit: says which peers to admit; None for all.
        address: what the other side is to type: the UID, or the code.
        whom: who is admitted, in words.
    """

    uid: str
    admit: Admit | None
    address: str
    whom: str

    @property
    def is_by_code(self) -> bool:
        """Whether the peer is told by a code."""
        return self.address != self.uid

    def tell_command(self, command: str) -> None:
        """Say which command to run on the other side; if quiet, only the code that is made here.

        Args:
            command: its name, and what stands in front of the address.
        """
        tell = tell_user_always if self.is_by_code else tell_user
        whole = f"trio-p2p {command} {shlex.quote(self.address)}"
        tell(f"on the other side run: {tied(whole)}")


@asynccontextmanager
async def open_admission(peer: Peer, options: argparse.Namespace) -> AsyncGenerator[Admission]:
    """What the user has said, or a code that is made.

    Use as an async context manager, and listen inside of it.

    Raises:
        UsageError: options do not go together.
        CommandError: codes cannot be used here.
        P2PError: as :meth:`Peer.listen`, if there is a code.
        ExceptionGroup: with a CommandError: a guess at the code was wrong. The block was cancelled.
    """
    if not options.code:
        if options.uid is None:
            raise UsageError("under which UID? Name one, or say --code to have a code made")
        admit = admitted_by(options)
        whom = "the first peer that comes" if admit is None else "a peer that you admit"
        yield Admission(options.uid, admit, options.uid, whom)
        return
    if options.uid is not None:
        raise UsageError("a code stands in the place of a UID: leave --code or the UID out")
    if options.admit is not None:
        raise UsageError("a code admits the peer that knows it: leave --code or --admit out")
    async with open_code(peer) as owner:
        whom = "the peer that knows the code"
        yield Admission(owner.code.uid, owner.admits, str(owner.code), whom)
