"""``trio-p2p receive``: takes the files that another peer gives, after asking."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import trio

from .._errors import RemoteProtocolError, StreamAbortedError, UnknownProtocolError, UnknownUIDError
from .._files.failures import FilesError
from .._files.folder import Folder
from .._files.listing import Listing
from .._files.messages import PROTOCOL
from .._files.order import Request
from .._files.taking import Taking
from .._files.tally import Tally
from .._identity.peer_id import PeerId
from .._net.nursery import open_background_nursery
from .._stream.p2p_stream import P2PStream
from .amounts import count_text, size_text
from .arguments import checked_by, parse_path
from .cut import cause_of
from .named_receiver import receiver_named
from .peer_options import open_peer_as_told
from .progress import Progress
from .questions import ask, can_ask
from .run import CommandError, UsageError, tell_user, tell_user_always
from .standard_streams import require_standard_streams
from .terminal import ending_of
from .ticket import parse_uid_or_ticket
from .trusted_receiver import TrustedReceiver

MAX_LINES = 14  # of files that are shown before they are taken
WIDTH = 80  # columns
MAX_VAIN_TRIES = 5  # connections that break one after the other, and bring nothing

_NOT_MENDED_BY_TIME = (StreamAbortedError, UnknownProtocolError, UnknownUIDError)


def add_receive_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Takes the files that a peer gives by `trio-p2p send`, after asking. Nothing is "
        "overwritten. After an interruption the same commands go on where they ended."
    )
    parser.add_argument(
        "uid",
        metavar="CODE",
        type=checked_by(parse_uid_or_ticket),
        help="the other side's code or ticket, or the UID of both",
    )
    parser.add_argument(
        "--into",
        metavar="DIR",
        type=checked_by(parse_path),
        default=Path(),
        help="the folder to write into (default: the current one)",
    )
    parser.add_argument(
        "-y", "--yes", action="store_true", help="take the files without being asked"
    )
    parser.set_defaults(raw=False)


async def receive(options: argparse.Namespace) -> None:
    """Take the files that a peer gives."""
    require_standard_streams()
    if not options.yes and not can_ask():
        raise UsageError("there is no terminal to ask whether to take the files: give --yes")
    into: Path = options.into
    try:
        target = Folder.at(into)
    except OSError as error:
        raise UsageError(f"no files can be written into {str(into)!r}: {error.strerror}") from error
    with target:
        async with open_peer_as_told(options) as peer:
            sender = await receiver_named(peer, options.uid, options)
            failures = await _Receiving(sender, target, options).run()
    if failures:
        for failure in failures[:MAX_LINES]:
            tell_user(failure)
        more = f": {len(failures)} in all" if len(failures) > MAX_LINES else ""
        raise CommandError(f"not all files were taken{more}")


class _Receiving:
    """Takes files from one peer, over as many connections as it needs."""

    def __init__(
        self, sender: TrustedReceiver, target: Folder, options: argparse.Namespace
    ) -> None:
        self._sender = sender
        self._target = target
        self._options = options
        self._agreed: Listing | None = None  # what the user wants
        self._moved = 0  # bytes that the last connection has brought

    async def run(self) -> list[str]:
        """Take the files; a sentence for each that could not be taken.

        Raises:
            CommandError: the connection broke, or the user does not want the files.
            P2PError: no connection came about, or the files cannot be taken.
        """
        vain_tries = 0
        while True:
            wait = self._options.wait or self._agreed is not None
            stream = await self._sender.open_stream(protocol=PROTOCOL, wait=wait)
            try:
                return await self._take_from(stream)
            except trio.BrokenResourceError as error:
                vain_tries = 0 if self._moved else vain_tries + 1
                is_final = isinstance(error.__cause__, _NOT_MENDED_BY_TIME)
                if self._agreed is None or is_final or vain_tries == MAX_VAIN_TRIES:
                    raise CommandError(
                        f"the connection to the sender broke: {cause_of(error)}"
                    ) from error
                tell_user(f"the connection broke: {cause_of(error)}; waiting for the sender")

    async def _take_from(self, stream: P2PStream) -> list[str]:
        self._moved = 0
        async with stream:
            taking = Taking(stream, stream.peer_id, self._target)
            try:
                listing = await taking.receive_offer()
            except RemoteProtocolError as error:
                raise CommandError(f"nothing was taken: {error}") from error
            try:
                requests = await taking.survey(listing)
                await self._agree(stream.peer_id, listing, requests)
                failures = await self._take(taking, listing, requests, stream)
            except (FilesError, CommandError):
                with suppress(trio.BrokenResourceError):
                    await taking.decline(  # noqa: ASYNC120 - Cancelled may come out instead
                        "its user or its disk does not take them"
                    )
                    await stream.aclose()  # noqa: ASYNC120 - as above
                raise
            with suppress(trio.BrokenResourceError):  # which would come too late
                if failures:
                    await taking.decline("some could not be taken")
                await stream.aclose()
        return failures

    async def _agree(self, peer_id: PeerId, listing: Listing, requests: Sequence[Request]) -> None:
        """Ask whether to take the files, once for the same ones.

        Raises:
            CommandError: the user does not want them.
        """
        if listing == self._agreed:
            return
        tell = tell_user if self._options.yes else tell_user_always
        for line in offer_lines(peer_id, listing, requests):
            tell(line)
        if not self._options.yes and not await ask("Take them?"):
            raise CommandError("nothing was taken")
        self._agreed = listing

    async def _take(
        self, taking: Taking, listing: Listing, requests: Sequence[Request], stream: P2PStream
    ) -> list[str]:
        tally = Tally(files=len(requests), size=listing.total)
        try:
            async with open_background_nursery() as nursery:
                nursery.start_soon(Progress(tally, lambda: stream.path).run)
                failures = await taking.take(listing, requests, tally)
        finally:
            self._moved = tally.moved
        done = count_text(tally.files_done, "file")
        if not failures:
            done += f", {size_text(tally.moved + tally.kept)}"
        tell_user(f"received {done}; their checksums are right")
        return failures


def offer_lines(peer_id: PeerId, listing: Listing, requests: Sequence[Request]) -> list[str]:
    """What is offered, for a screen of 80 columns and 24 lines."""
    total = f"{count_text(len(requests), 'file')}, {size_text(listing.total)}"
    lines = [f"{peer_id} offers", f"{total}:"]
    for request in requests[:MAX_LINES]:
        path = ending_of(listing.path_of(request.entry), WIDTH - 24)
        lines.append(f"{size_text(request.size):>11}  {path}")
    if len(requests) > MAX_LINES:
        lines.append(f"{'':>11}  … and {len(requests) - MAX_LINES} more")
    if kept := sum(request.offset for request in requests):
        lines.append(f"{size_text(kept)} of that seem to be here already")
    return lines
