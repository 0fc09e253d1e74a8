"""The giving side: what it offers, and what it answers to hostile taking sides."""

import os
from pathlib import Path

import pytest

from trio_p2p import RemoteProtocolError
from trio_p2p._files.failures import FilesError
from trio_p2p._files.given_tree import GivenTree
from trio_p2p._files.giver import MAX_REQUESTS, Giver
from trio_p2p._files.listing import MAX_DEPTH
from trio_p2p._files.messages import Begin, Decline, Done, Failed, Get, Offer, Piece, encode
from trio_p2p._files.tally import Tally

from .offers import frame, make_tree, never_stop, said


@pytest.fixture
def giver(tmp_path: Path) -> Giver:
    make_tree(tmp_path, {"folder/file": b"12345"})
    return Giver(GivenTree([tmp_path / "folder"], never_stop), Tally(), never_stop)


@pytest.mark.parametrize(
    "words",
    [
        said(Get(0, 0)),  # a folder
        said(Get(2, 0)),  # nothing
        said(Get(1, 6)),  # behind the end
        said(*[Get(1, 0)] * (MAX_REQUESTS + 1)),
        said(frame({"type": "get", "entry": -1, "offset": 0})),
        said(frame({"type": "get", "entry": 1, "offset": -1})),
        said(frame({"type": "get", "entry": 1})),
        said(frame({"type": "get", "entry": b"/etc/passwd", "offset": 0})),
        said(Offer(1)),
        said(Begin(1)),
        said(Failed("x")),
        said(Piece(5), b"12345"),
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=lambda words: ascii(words)[:40],
)
def test_what_no_taking_side_says(giver: Giver, words: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        giver.take_untrusted(words)
    assert not giver.is_done


def test_a_taking_side_that_declines(giver: Giver) -> None:
    with pytest.raises(FilesError, match=r"has not taken all files: no\?"):
        giver.take_untrusted(encode(Decline("no\n")))


def test_a_file_that_cannot_be_read_here_is_our_fault(giver: Giver, tmp_path: Path) -> None:
    (tmp_path / "folder" / "file").unlink()
    giver.take_untrusted(said(Get(1, 0)))
    assert giver.next_answer() == encode(Failed("No such file or directory"))
    with pytest.raises(FilesError, match=r"read here: 'folder/file': No such file or directory$"):
        giver.take_untrusted(encode(Decline("some could not be taken")))


def test_requests_in_pieces(giver: Giver) -> None:
    for byte in said(Get(1, 2), Done()):
        giver.take_untrusted(bytes([byte]))
    assert giver.is_wanted
    assert giver.is_done
    assert b"345" in giver.next_answer()
    assert giver.next_answer() == b""


def test_links_and_devices_in_folders_are_left_out(tmp_path: Path) -> None:
    make_tree(tmp_path, {"folder/file": b"12345", "folder/sub": None, "secret": b"x"})
    (tmp_path / "folder" / "link").symlink_to("../secret")
    (tmp_path / "folder" / "sub" / "up").symlink_to("..")
    os.mkfifo(tmp_path / "folder" / "pipe")
    tree = GivenTree([tmp_path / "folder"], never_stop)
    assert [tree.listing.path_of(number) for number in range(3)] == [
        "folder",
        "folder/file",
        "folder/sub",
    ]
    assert len(tree.listing.entries) == 3
    assert tree.left_out == [str(tmp_path / "folder" / each) for each in ("link", "pipe", "sub/up")]


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    make_tree(tmp_path, {"elsewhere/file": b"12345"})
    (tmp_path / "link").symlink_to("elsewhere/file")
    tree = GivenTree([tmp_path / "link"], never_stop)
    assert [entry.name for entry in tree.listing.entries] == ["file"]
    file = tree.open(0)
    assert file.read(100) == b"12345"
    file.close()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x\ny", "has characters that are no text: rename it"),
        ("aux.c", "is the name of a device on some systems: rename it"),
        ("x ", "ends with a dot or a space"),
        ("back\\slash", "has a slash or a backslash in it: rename it"),
        (os.fsdecode(b"\xff"), "has characters that are no text: rename it"),
    ],
)
def test_what_no_receiver_takes_is_not_sent(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_bytes(b"")
    with pytest.raises(FilesError, match="cannot be sent: ") as caught:
        GivenTree([tmp_path / "folder"], never_stop)
    assert sentence in str(caught.value)
    assert str(caught.value).isprintable()


def test_names_that_some_systems_hold_for_one_are_not_sent(tmp_path: Path) -> None:
    make_tree(tmp_path, {"folder/File": b"", "folder/file": b""})
    with pytest.raises(FilesError, match="are the same to some systems: rename one"):
        GivenTree([tmp_path / "folder"], never_stop)


def test_two_files_of_one_name_are_not_sent(tmp_path: Path) -> None:
    make_tree(tmp_path, {"a/file": b"", "b/file": b""})
    with pytest.raises(FilesError, match="are the same to some systems"):
        GivenTree([tmp_path / "a" / "file", tmp_path / "b" / "file"], never_stop)


def test_too_deep_a_tree_is_not_sent(tmp_path: Path) -> None:
    make_tree(tmp_path, {"/".join(["d"] * (MAX_DEPTH + 1)): None})
    with pytest.raises(FilesError, match=f"more than {MAX_DEPTH} folders: send them as one arch"):
        GivenTree([tmp_path / "d"], never_stop)


def test_too_many_files_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._files.listing.MAX_ENTRIES", 3)
    make_tree(tmp_path, {f"d/{number}": b"" for number in range(3)})
    with pytest.raises(FilesError, match="more than 3 files and folders: send them as one archive"):
        GivenTree([tmp_path / "d"], never_stop)


@pytest.mark.parametrize("kind", ["nothing", "a loop", "a pipe", "a file as a folder"])
def test_what_cannot_be_read_is_not_sent(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "path"
    if kind == "a loop":
        path.symlink_to("path")
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a file as a folder":
        path.write_bytes(b"")
        path /= "x"
    with pytest.raises(FilesError, match=r"cannot be read|neither a file nor a folder"):
        GivenTree([path], never_stop)


def test_a_dot_is_a_folder_with_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path, {"folder/file": b""})
    monkeypatch.chdir(tmp_path / "folder")
    tree = GivenTree([Path()], never_stop)
    assert tree.listing.path_of(1) == "folder/file"


def test_the_root_itself_has_no_name() -> None:
    with pytest.raises(FilesError, match="'/' has no name to send it by"):
        GivenTree([Path("/")], never_stop)
