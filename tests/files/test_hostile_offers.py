"""Whatever a hostile peer offers, nothing is touched but what it may make in the folder."""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from trio_p2p import RemoteProtocolError
from trio_p2p._files.failures import FilesError
from trio_p2p._files.folder import Folder
from trio_p2p._files.listing import MAX_DEPTH
from trio_p2p._files.messages import MAX_ENTRIES, Begin, Done, End, Entry, Failed, Get, Offer, Piece
from trio_p2p._files.partial_file import partial_name
from trio_p2p._wire.fields import MAX_COUNT

from .hostile_names import SENT_NAMES
from .offers import PEER_ID, TakingSide, content, frame, offered, said

DATA = b"owned"
DIGEST = hashlib.sha256(DATA).digest()
FILE = Entry("file", size=len(DATA))
PLACES = ["at the top", "as a folder", "in a folder"]


class Sandbox:
    """A folder to take into, full of traps, and what is around it."""

    def __init__(self, place: Path) -> None:
        self.target = place / "target"
        self.outside = place / "outside"
        (self.outside / "folder").mkdir(parents=True)
        (self.outside / "secret").write_bytes(b"secret")
        self.target.mkdir()
        (self.target / "out").symlink_to("../outside")
        (self.target / "out-folder").symlink_to(self.outside / "folder")
        (self.target / "out-file").symlink_to("../outside/secret")
        (self.target / "out-new").symlink_to("../outside/new")
        (self.target / "around").symlink_to("around")
        (self.target / "mine").write_bytes(b"mine!")
        (self.target / "folder").mkdir()
        (self.target / "folder" / "out").symlink_to("../../outside")
        os.mkfifo(self.target / "pipe")
        os.link(self.outside / "secret", self.target / "shared")
        self._place = place
        self._before = self._look()

    def _look(self) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self._place.rglob("*")):
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            is_file = stat.S_ISREG(kind)
            link = path.readlink() if stat.S_ISLNK(kind) else None
            data = path.read_bytes() if is_file else None
            found[str(path.relative_to(self._place))] = (status.st_ino, kind, link, data)
        return found

    def new(self) -> dict[str, bytes | None]:
        """What is new, by its path in the target. All else has to be as it was."""
        after = self._look()
        assert {name: after.get(name) for name in self._before} == self._before
        new = sorted(set(after) - set(self._before))
        assert all(name.startswith("target/") for name in new)
        paths = {name: self._place / name for name in new}
        return {
            name.removeprefix("target/"): None if path.is_dir() else path.read_bytes()
            for name, path in paths.items()
        }


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def attack(
    sandbox: Sandbox, offer: bytes, *answers: bytes, meanwhile: Callable[[], None] = lambda: None
) -> list[str]:
    """Offer, and answer what is asked for by anything; the failures."""
    side = TakingSide(sandbox.target)
    with Folder.at(sandbox.target) as folder:
        listing = side.hear_offer(offer)
        side.begin(folder, listing)
        meanwhile()
        assert side.taker is not None
        try:
            for answer in answers or [
                content(number, DATA[:size], hashlib.sha256(DATA[:size]).digest())
                for number, size in listing.files()
            ]:
                side.taker.take_untrusted(answer)
        finally:
            side.taker.close()
        return side.taker.failures


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SENT_NAMES, ids=ascii)
def test_hostile_names(sandbox: Sandbox, name: bytes, place: str) -> None:
    entries: dict[str, list[dict[str, object]]] = {
        "at the top": [{"type": "listed", "name": name, "size": len(DATA)}],
        "as a folder": [
            {"type": "listed", "name": name},
            {"type": "listed", "name": "x", "parent": 0, "size": len(DATA)},
        ],
        "in a folder": [
            {"type": "listed", "name": "folder"},
            {"type": "listed", "name": name, "parent": 0, "size": len(DATA)},
        ],
    }
    offer = said(Offer(len(entries[place]))) + b"".join(map(frame, entries[place]))
    with pytest.raises(RemoteProtocolError):
        attack(sandbox, offer)
    assert sandbox.new() == {}


DEEP = [Entry("d", number - 1 if number else None) for number in range(MAX_DEPTH + 1)]
TREES: dict[str, list[Entry]] = {
    "a folder in itself": [Entry("a", 0), FILE],
    "a folder that follows": [Entry("a", 1), Entry("b")],
    "a folder that is nowhere": [Entry("a", 7)],
    "a file that is a folder": [FILE, Entry("x", 0, 5)],
    "the same file twice": [FILE, FILE],
    "the same folder twice": [Entry("a"), Entry("a")],
    "a file and a folder": [FILE, Entry("file"), Entry("x", 1, 5)],
    "a folder and a file": [Entry("file"), Entry("x", 0, 5), FILE],
    "names that differ by case": [Entry("File", size=5), FILE],
    "folders that differ by case": [Entry("A"), Entry("a"), Entry("x", 1, 5)],
    "names that differ by how they are composed": [
        Entry("\u00e9", size=5),
        Entry("e\u0301", size=5),
    ],
    "names that differ by sharp s": [Entry("straße", size=5), Entry("STRASSE", size=5)],
    "deeper than allowed": DEEP,
    "more bytes than there can be": [
        Entry("a", size=MAX_COUNT),
        Entry("b", size=1),
    ],
}


@pytest.mark.parametrize("name", TREES)
def test_trees_that_are_none(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        attack(sandbox, offered(*TREES[name]))
    assert sandbox.new() == {}


OFFERS: dict[str, bytes] = {
    "nothing": said(frame({"type": "files", "entries": 0})),
    "less than nothing": said(frame({"type": "files", "entries": -1})),
    "millions of entries": said(frame({"type": "files", "entries": 5_000_000})),
    "one more than allowed": said(frame({"type": "files", "entries": MAX_ENTRIES + 1})),
    "two offers": said(Offer(2), Offer(2)),
    "more entries than announced": said(Offer(1), FILE, Entry("more", size=5)),
    "entries before the offer": said(FILE, Offer(1)),
    "a file of a negative size": said(Offer(1), frame({"type": "listed", "name": "x", "size": -1})),
    "a size that is no number": said(Offer(1), frame({"type": "listed", "name": "x", "size": 1.5})),
    "a size that is true": said(Offer(1), frame({"type": "listed", "name": "x", "size": True})),
    "a huge size": said(Offer(1), frame({"type": "listed", "name": "x", "size": 2**64 - 1})),
    "a parent below zero": said(Offer(1), frame({"type": "listed", "name": "x", "parent": -1})),
    "a parent that is a name": said(
        Offer(1), frame({"type": "listed", "name": "x", "parent": b"/"})
    ),
    "no name": said(Offer(1), frame({"type": "listed", "size": 1})),
    "a name that is a list": said(Offer(1), frame({"type": "listed", "name": [b"x"]})),
    "a name that is a number": said(Offer(1), frame({"type": "listed", "name": 7})),
    "content": said(Offer(1), Piece(5), DATA),
    "what only a taking side says": said(Get(0, 0)),
    "an unknown message": said(frame({"type": "link", "name": "x", "target": "/etc/passwd"})),
    "no message": b"\xc4\x01\x00",
    "no frame": b"GET / HTTP/1.1\r\n\r\n",
    "a frame that is too long": b"\xc5\xff\xff",
}


@pytest.mark.parametrize("name", OFFERS)
def test_offers_that_are_none(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        attack(sandbox, OFFERS[name])
    assert sandbox.new() == {}


IN_THE_WAY: dict[str, list[Entry]] = {
    "a file that is there": [Entry("mine", size=4)],
    "a folder for a file": [Entry("mine"), Entry("x", 0, 5)],
    "a file for a folder": [Entry("folder", size=5)],
    "a file over a link": [Entry("out-file", size=6)],
    "a file over a link to nothing": [Entry("out-new", size=5)],
    "a file over a link to itself": [Entry("around", size=5)],
    "a file over a pipe": [Entry("pipe", size=5)],
    "a file in a linked folder": [Entry("out"), Entry("x", 0, 5)],
    "a file in a folder of a linked folder": [Entry("out"), Entry("folder", 0), Entry("x", 1, 5)],
    "a file in a folder that is linked by its whole path": [Entry("out-folder"), Entry("x", 0, 5)],
    "a file in a linked folder of a folder": [
        Entry("folder"),
        Entry("out", 0),
        Entry("x", 1, 5),
    ],
    "a file in a link to a file": [Entry("out-file"), Entry("x", 0, 5)],
    "a file in a link to itself": [Entry("around"), Entry("x", 0, 5)],
    "a file in a pipe": [Entry("pipe"), Entry("x", 0, 5)],
    "more than the disk has": [Entry("x", size=2**60)],
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_is_in_the_way_stays(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(FilesError):
        attack(sandbox, offered(*IN_THE_WAY[name]))
    assert sandbox.new() == {}


@pytest.mark.parametrize(
    ("entry", "digest"),
    [
        (Entry("mine", size=5), DIGEST),
        (Entry("shared", size=6), hashlib.sha256(b"owned!").digest()),
    ],
)
def test_a_file_of_the_same_size_is_kept(sandbox: Sandbox, entry: Entry, digest: bytes) -> None:
    assert entry.size is not None
    answer = said(Begin(0, digest), End(digest))
    [failure] = attack(sandbox, offered(entry), answer)
    assert failure.endswith("it is here already with other content, which was kept")
    assert sandbox.new() == {}


ANSWERS: dict[str, bytes] = {
    "another file": said(Begin(1)),
    "a digest of nothing": said(Begin(0, DIGEST)),
    "it begins twice": said(Begin(0), Begin(0)),
    "content that was not announced": said(Begin(0), DATA),
    "content before it begins": said(Piece(5), DATA),
    "one byte more": said(Begin(0), Piece(6), DATA, b"!"),
    "one piece more": said(Begin(0), Piece(5), DATA, Piece(1), b"!"),
    "one byte less": said(Begin(0), Piece(4), DATA[:4], End(DIGEST)),
    "nothing of it": said(Begin(0), End(DIGEST)),
    "an end without a beginning": said(End(DIGEST)),
    "content behind the end": content(0, DATA, DIGEST) + said(Piece(5), DATA),
    "the file once more": content(0, DATA, DIGEST) * 2,
    "a failure too many": said(Failed("x"), Failed("x")),
    "a piece of nothing": said(Begin(0), frame({"type": "piece", "length": 0})),
    "a piece of too much": said(Begin(0), frame({"type": "piece", "length": 2**20 + 1})),
    "a digest that is too short": said(Begin(0), frame({"type": "complete", "digest": b"x"})),
    "the taking side's end": said(Done()),
    "another offer": said(Offer(1), FILE),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_to_no_question(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        attack(sandbox, offered(FILE), ANSWERS[name])
    partial = partial_name(PEER_ID, FILE.name, len(DATA))
    assert set(sandbox.new()) <= {partial, "file"}


def test_a_wrong_checksum(sandbox: Sandbox) -> None:
    [failure] = attack(sandbox, offered(FILE), content(0, DATA, bytes(32)))
    assert failure == "'file' was not taken: its checksum is wrong: receive it again"
    assert sandbox.new() == {}


def test_a_file_that_cannot_be_given(sandbox: Sandbox) -> None:
    [failure] = attack(sandbox, offered(FILE), said(Failed("no\x1b[2J luck")))
    assert failure == "'file' was not taken: the other side cannot give it: no?[2J luck"
    assert sandbox.new() == {}


# Links that are made meanwhile


def test_a_link_in_the_place_of_a_folder_that_was_looked_at(sandbox: Sandbox) -> None:
    def swap() -> None:
        (sandbox.target / "fresh").rmdir()
        (sandbox.target / "fresh").symlink_to(sandbox.outside)

    offer = offered(Entry("fresh"), Entry("x", 0, len(DATA)))
    with pytest.raises(FilesError, match="'fresh/x' cannot be written: "):
        attack(sandbox, offer, content(1, DATA, DIGEST), meanwhile=swap)
    (sandbox.target / "fresh").unlink()
    assert sandbox.new() == {}


@pytest.mark.parametrize("trap", ["../outside/secret", "../outside/new", "mine"])
def test_a_link_in_the_place_of_a_file_that_was_looked_at(sandbox: Sandbox, trap: str) -> None:
    offer = offered(FILE)
    link = sandbox.target / "file"
    [failure] = attack(sandbox, offer, meanwhile=lambda: link.symlink_to(trap))
    assert failure.endswith("something of this name came to be here meanwhile, and was kept")
    link.unlink()
    assert sandbox.new() == {partial_name(PEER_ID, FILE.name, len(DATA)): DATA}


@pytest.mark.parametrize("trap", ["../outside/secret", "../outside/new", "mine", "around", "pipe"])
def test_a_link_in_the_place_of_a_file_that_is_not_complete(sandbox: Sandbox, trap: str) -> None:
    link = sandbox.target / partial_name(PEER_ID, FILE.name, len(DATA))
    with pytest.raises(FilesError, match="'file' cannot be written: "):
        attack(sandbox, offered(FILE), meanwhile=lambda: link.symlink_to(trap))
    link.unlink()
    assert sandbox.new() == {}


def test_a_file_that_is_not_complete_and_has_two_names(sandbox: Sandbox) -> None:
    """What is written to it would be written to the other file, too."""
    partial = sandbox.target / partial_name(PEER_ID, FILE.name, len(DATA))

    def trap() -> None:
        os.link(sandbox.outside / "secret", partial)

    with pytest.raises(FilesError, match="is not what it was made as: remove it"):
        attack(sandbox, offered(FILE), meanwhile=trap)
    partial.unlink()
    assert sandbox.new() == {}


def test_a_target_that_is_replaced(sandbox: Sandbox) -> None:
    """All is written into the folder that was opened, wherever that is now."""
    moved = sandbox.target.with_name("moved")

    def swap() -> None:
        sandbox.target.rename(moved)
        sandbox.target.symlink_to(sandbox.outside)

    assert attack(sandbox, offered(FILE), meanwhile=swap) == []
    assert (moved / "file").read_bytes() == DATA
    sandbox.target.unlink()
    moved.rename(sandbox.target)
    assert sandbox.new() == {"file": DATA}
