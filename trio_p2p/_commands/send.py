"""``trio-p2p send``: gives files and folders to one peer."""

from __future__ import annotations

import argparse
import logging
from functools import partial

import trio

from .._errors import RemoteProtocolError
from .._files.failures import FilesError
from .._files.given_tree import GivenTree
from .._files.giving import give
from .._files.messages import PROTOCOL
from .._files.tally import Tally
from .._identity.peer_id import PeerId
from .._net.log_limit import RepeatedLine
from .._net.nursery import open_background_nursery
from .._peer.peer import Peer
from .._stream.p2p_stream import P2PStream
from .._wire.uids import parse_uid
from .admission import Admission, open_admission
from .amounts import count_text, size_text
from .arguments import checked_by, parse_path
from .cut import cause_of
from .peer_options import open_peer_as_told
from .progress import Progress
from .run import CommandError, tell_user
from .standard_streams import require_standard_streams

logger = logging.getLogger("trio_p2p.send")

MAX_TAKERS = 16  # peers that look at an offer at a time


def add_send_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Gives files and folders to one peer, which runs `trio-p2p receive`. After an "
        "interruption the same commands go on where they ended."
    )
    parser.add_argument(
        "paths",
        metavar="FILE",
        nargs="+",
        type=checked_by(parse_path),
        help="a file, or a folder and all in it",
    )
    parser.add_argument(
        "--uid",
        metavar="UID",
        type=checked_by(parse_uid),
        help="what both agreed on (default: a code is made)",
    )
    parser.set_defaults(raw=False)


async def send(options: argparse.Namespace) -> None:
    """Give files to the first peer that takes them."""
    require_standard_streams()
    options.code = options.uid is None
    make_tree = partial(GivenTree, options.paths, trio.from_thread.check_cancelled)
    tree = await trio.to_thread.run_sync(make_tree)
    for path in tree.left_out:
        tell_user(f"{path!a} is left out: it is a link, or no file")
    async with open_peer_as_told(options) as peer, open_admission(peer, options) as admission:
        await _Sending(tree, admission).run(peer)


class _Sending:
    """Gives files to the peers that come, until one has them all.

    The first peer that asks for a file is the one: others are sent away from then on, also when it
    has to come back.
    """

    def __init__(self, tree: GivenTree, admission: Admission) -> None:
        self._tree = tree
        self._admission = admission
        self._admit = admission.admit
        self._chosen: PeerId | None = None
        self._takers = 0
        self._failures = RepeatedLine(logger, logging.WARNING)
        self._ended = trio.Event()
        self._error: FilesError | None = None
        self._files = sum(1 for _ in tree.listing.files())

    async def run(self, peer: Peer) -> None:
        """Give the files.

        Raises:
            CommandError: the peer that the user has admitted does not want them.
            P2PError: as :meth:`Peer.serve`.
        """
        async with trio.open_nursery() as nursery:
            uid = self._admission.uid
            serve = partial(peer.serve, uid, self._give, protocol=PROTOCOL, admit=self._may_come)
            await nursery.start(serve)
            what = f"{count_text(self._files, 'file')}, {size_text(self._tree.listing.total)}"
            tell_user(f"{what}, for {self._admission.whom}")
            self._admission.tell_command("receive")
            tell_user(f"we are {peer.peer_id}")
            await self._ended.wait()
            nursery.cancel_scope.cancel(reason="the files are given")
        if self._error is not None:
            raise CommandError(str(self._error))
        tell_user(f"{self._chosen} has all files, and their checksums are right")

    def _may_come(self, peer_id: PeerId) -> bool:
        is_theirs = self._chosen in (None, peer_id)
        return is_theirs and (self._admit is None or self._admit(peer_id))

    async def _give(self, stream: P2PStream) -> None:
        """Serve one peer; what it does wrong ends nothing else."""
        if self._takers == MAX_TAKERS:
            stream.abort("too many peers look at the files")
            return
        self._takers += 1
        try:
            has_all = await self._give_to(stream)
        except (FilesError, RemoteProtocolError) as error:
            self._note(stream.peer_id, error)
        except trio.BrokenResourceError as error:
            if stream.peer_id == self._chosen:
                tell_user(f"the connection broke: {cause_of(error)}; waiting for the same peer")
            raise
        else:
            if has_all:
                await stream.aclose()
                self._ended.set()
        finally:
            self._takers -= 1

    async def _give_to(self, stream: P2PStream) -> bool:
        tally = Tally(files=self._files, size=self._tree.listing.total)
        is_shown = False
        async with open_background_nursery() as nursery:

            def may_begin() -> bool:
                nonlocal is_shown
                if not self._may_come(stream.peer_id):
                    return False
                self._chosen = stream.peer_id
                if not is_shown:
                    is_shown = True
                    nursery.start_soon(Progress(tally, lambda: stream.path).run)
                return True

            return await give(stream, self._tree, tally, may_begin)
        raise AssertionError  # the nursery lets no error pass

    def _note(self, peer_id: PeerId, error: FilesError | RemoteProtocolError) -> None:
        """Tell the user what a peer has said; if the user trusts it, that is the end."""
        if isinstance(error, FilesError) and (peer_id == self._chosen or self._admit):
            self._error = error
            self._ended.set()
        else:
            self._failures.say(trio.current_time(), "%s: %s", peer_id, error)
