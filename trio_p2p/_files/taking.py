"""Takes files from a stream."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import trio

from .._errors import RemoteProtocolError
from .._identity.peer_id import PeerId
from .folder import Folder
from .intake import Intake
from .listing import Listing
from .messages import Decline, encode
from .order import Request
from .taken_tree import TakenTree
from .taker import ListingReader, Taker
from .tally import Tally

RECEIVE_BYTES = 2**20
LISTING_TIME = 120.0  # seconds; 100,000 entries are some 12 MB

ENDED = "the other side has ended before all files had come"


class Taking:
    """The taking side of a stream.

    Args:
        stream: the stream; who has it closes it.
        peer_id: the peer at its other end.
        target: the folder that everything comes into.
    """

    def __init__(
        self, stream: trio.abc.HalfCloseableStream, peer_id: PeerId, target: Folder
    ) -> None:
        self._stream = stream
        self._peer_id = peer_id
        self._target = target
        self._intake = Intake()

    async def receive_offer(self) -> Listing:
        """What the peer offers.

        Raises:
            RemoteProtocolError: it is no offer, or takes too long.
            trio.BrokenResourceError: the stream broke, or has ended.
        """
        reader = ListingReader(self._intake)
        with trio.move_on_after(LISTING_TIME):
            while True:
                listing = await trio.to_thread.run_sync(
                    reader.take_untrusted, await self._receive()
                )
                if listing is not None:
                    return listing
        raise RemoteProtocolError(f"the peer has offered nothing within {LISTING_TIME:g} s")

    async def survey(self, listing: Listing) -> list[Request]:
        """What to ask for, after a look at what is in the folder. Nothing is written.

        Raises:
            FilesError: something else is in the way, or there is no room.

        If cancelled, nothing was done.
        """
        tree = TakenTree(self._target, listing, self._peer_id)
        return await trio.to_thread.run_sync(tree.survey, trio.from_thread.check_cancelled)

    async def take(self, listing: Listing, requests: Sequence[Request], tally: Tally) -> list[str]:
        """Take files.

        Args:
            listing: what is offered.
            requests: what to ask for.
            tally: what to count in.

        Returns:
            A sentence for each file that could not be taken.

        Raises:
            FilesError: files cannot be written here.
            RemoteProtocolError: the peer says what it must not.
            trio.BrokenResourceError: the stream broke, or has ended.

        If cancelled, or if it fails, what has come of a file is kept for the next time.
        """
        taker = Taker(
            listing,
            TakenTree(self._target, listing, self._peer_id),
            requests,
            intake=self._intake,
            tally=tally,
            checkpoint=trio.from_thread.check_cancelled,
        )
        run = trio.to_thread.run_sync
        try:
            await self._stream.send_all(await run(taker.begin))
            while not taker.is_done:
                said = await run(partial(taker.take_untrusted, await self._receive()))
                if said:
                    await self._stream.send_all(said)
        finally:
            taker.close()
        return taker.failures

    async def decline(self, reason: str) -> None:
        """Say that files are not taken, or not all.

        Raises:
            trio.BrokenResourceError: the stream broke.
        """
        await self._stream.send_all(encode(Decline(reason)))

    async def _receive(self) -> bytes | bytearray:
        data = await self._stream.receive_some(RECEIVE_BYTES)
        if not data:
            raise trio.BrokenResourceError(ENDED)
        return data
