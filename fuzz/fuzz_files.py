"""Feeds hostile bytes to both sides of a transfer of files.

``nox -s fuzz`` runs it; the arguments are libFuzzer's.

The first byte of an input says which side hears the rest, and in what pieces.
"""

import sys
import tempfile
from pathlib import Path

import atheris
from fuzzing import run

with atheris.instrument_imports(include=["trio_p2p"]):
    from trio_p2p._errors import RemoteProtocolError
    from trio_p2p._files.failures import FilesError
    from trio_p2p._files.folder import Folder
    from trio_p2p._files.given_tree import GivenTree
    from trio_p2p._files.giver import Giver
    from trio_p2p._files.intake import Intake
    from trio_p2p._files.messages import (
        Begin,
        Decline,
        Done,
        End,
        Entry,
        Failed,
        Get,
        Offer,
        Piece,
        encode,
    )
    from trio_p2p._files.taken_tree import TakenTree
    from trio_p2p._files.taker import ListingReader, Taker
    from trio_p2p._files.tally import Tally
    from trio_p2p._identity.peer_id import PeerId

PEER_ID = PeerId(bytes(23))
GIVING, TAKING = range(2)
CONTENT = b"content"


def feed(data: bytes) -> None:
    """Run one input; whatever it raises is a bug."""
    kind, rest = (data[0], data[1:]) if data else (GIVING, b"")
    pieces = [rest] if kind < 128 else [rest[at : at + 7] for at in range(0, len(rest), 7)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "folder")
        folder.mkdir()
        said = ""
        try:
            if kind % 2 == GIVING:
                feed_giver(folder, pieces)
            else:
                feed_taker(folder, pieces)
        except (RemoteProtocolError, FilesError) as error:
            said = str(error)
        assert said.isprintable()  # in the log, and on a terminal
        assert [path.name for path in Path(place).iterdir()] == ["folder"]


def feed_giver(folder: Path, pieces: list[bytes]) -> None:
    """What is given is asked for, whatever is heard."""
    (folder / "file").write_bytes(CONTENT)
    giver = Giver(GivenTree([folder], lambda: None), Tally(), lambda: None)
    try:
        for piece in pieces:
            giver.take_untrusted(piece)
            while giver.next_answer():
                pass
    finally:
        giver.close()


def feed_taker(folder: Path, pieces: list[bytes]) -> None:
    """An offer first, and then what is to be files."""
    intake = Intake()
    reader = ListingReader(intake)
    listing = None
    while pieces and listing is None:
        listing = reader.take_untrusted(pieces.pop(0))
    if listing is None:
        return
    with Folder.at(folder) as target:
        tree = TakenTree(target, listing, PEER_ID)
        requests = tree.survey(lambda: None)
        taker = Taker(
            listing, tree, requests, intake=intake, tally=Tally(), checkpoint=lambda: None
        )
        try:
            taker.begin()
            for piece in pieces:
                taker.take_untrusted(piece)
        finally:
            taker.close()


def seeds() -> list[bytes]:
    """Inputs to begin with: what honest sides say, at once and in pieces."""
    asked = b"".join(map(encode, (Get(1, 0), Get(1, 3), Done(), Decline("no"))))
    offer = b"".join(map(encode, (Offer(2), Entry("folder"), Entry("file", 0, len(CONTENT)))))
    begun = encode(Begin(1)) + encode(Piece(len(CONTENT))) + CONTENT
    given = [begun + encode(End(bytes(32))), begun + encode(Failed("no")), b""]
    said = [bytes([GIVING]) + asked]
    said += [bytes([TAKING]) + offer + each for each in given]
    return [*said, *(bytes([each[0] + 128]) + each[1:] for each in said)]


if __name__ == "__main__":
    sys.exit(run(feed, seeds()))
