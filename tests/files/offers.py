"""Two sides of a transfer without a network, and hostile sides that say anything."""

import os
from collections.abc import Iterable
from pathlib import Path

import attrs
import msgpack

from trio_p2p import PeerId
from trio_p2p._files.folder import Folder
from trio_p2p._files.given_tree import GivenTree
from trio_p2p._files.giver import Giver
from trio_p2p._files.intake import Intake
from trio_p2p._files.listing import Listing
from trio_p2p._files.messages import Begin, End, Entry, Message, Offer, Piece, encode
from trio_p2p._files.taken_tree import TakenTree
from trio_p2p._files.taker import ListingReader, Taker
from trio_p2p._files.tally import Tally

PEER_ID = PeerId(bytes(23))


def never_stop() -> None:
    """A checkpoint where nothing is cancelled."""


def files_in(folder: Path) -> dict[str, bytes | None]:
    """The content of each file by its path; None for folders. Links are an error."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        assert not path.is_symlink()
        found[str(path.relative_to(folder))] = None if path.is_dir() else path.read_bytes()
    return found


def make_tree(folder: Path, files: dict[str, bytes | None]) -> None:
    """Make files, and folders where there is no content."""
    for name, content in files.items():
        path = folder / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@attrs.define
class TakingSide:
    """A taking side, as far as it has come.

    Args:
        target: the folder that it takes into.
        peer_id: the peer that it believes to speak with.
    """

    target: Path
    peer_id: PeerId = PEER_ID
    tally: Tally = attrs.field(factory=Tally)
    taker: Taker | None = None
    _intake: Intake = attrs.field(factory=Intake)

    def hear_offer(self, data: bytes) -> Listing:
        """Read a complete offer."""
        listing = ListingReader(self._intake).take_untrusted(data)
        assert listing is not None
        return listing

    def begin(self, folder: Folder, listing: Listing) -> bytes:
        """Look at the folder, and ask for what is offered."""
        tree = TakenTree(folder, listing, self.peer_id)
        self.taker = Taker(
            listing,
            tree,
            tree.survey(never_stop),
            intake=self._intake,
            tally=self.tally,
            checkpoint=never_stop,
        )
        return self.taker.begin()


def transfer(paths: Iterable[Path], side: TakingSide, *, at_most: int | None = None) -> list[str]:
    """Give files until all are taken, or so many bytes have been said; the failures."""
    giver = Giver(GivenTree(list(paths), never_stop), Tally(), never_stop)
    with Folder.at(side.target) as folder:
        giver.take_untrusted(side.begin(folder, side.hear_offer(giver.offer())))
        assert side.taker is not None
        left = at_most
        while answer := giver.next_answer():
            giver.take_untrusted(side.taker.take_untrusted(answer[:left]))
            if left is not None and (left := left - len(answer)) <= 0:
                break
        giver.close()
        side.taker.close()
    assert giver.is_done == (side.taker.is_done and not side.taker.failures)
    return side.taker.failures


def said(*messages: Message | bytes) -> bytes:
    """What is said in messages and content."""
    return b"".join(each if isinstance(each, bytes) else encode(each) for each in messages)


def frame(fields: dict[str, object]) -> bytes:
    """A frame that holds any map; bytes stand for text that need not be UTF-8."""
    packer = msgpack.Packer(use_bin_type=False)
    payload: bytes = packer.pack(fields)
    packed: bytes = msgpack.packb(payload)
    return packed


def offered(*entries: Entry) -> bytes:
    """An offer of entries."""
    return said(Offer(len(entries)), *entries)


def content(number: int, data: bytes, digest: bytes) -> bytes:
    """The answer to a request for a small file from its beginning."""
    piece: list[Message | bytes] = [Piece(len(data)), data] if data else []
    return said(Begin(number), *piece, End(digest))


def random_bytes(count: int) -> bytes:
    """Content that is like no other."""
    return os.urandom(count)
