"""Files come as they are, in any number of tries."""

import fcntl
import os
from pathlib import Path

import pytest

from trio_p2p import PeerId
from trio_p2p._files import taker
from trio_p2p._files.failures import FilesError
from trio_p2p._files.folder import Folder
from trio_p2p._files.given_tree import GivenTree
from trio_p2p._files.giver import Giver
from trio_p2p._files.names import RESERVED_PREFIX
from trio_p2p._files.partial_file import partial_name
from trio_p2p._files.tally import Tally

from .offers import PEER_ID, TakingSide, files_in, make_tree, never_stop, random_bytes, transfer

TREE: dict[str, bytes | None] = {
    "tree/a/big": random_bytes(3_000_000),
    "tree/a/b/none": b"",
    "tree/empty": None,
    **{f"tree/a/small{number}": random_bytes(number * 10) for number in range(100)},
}
OTHER = PeerId(bytes([1]) * 23)


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def complete(files: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """The files with all folders that they are in."""
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    return dict(sorted({**dict.fromkeys(folders), **files}.items()))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make_tree(tmp_path / "source", TREE)
    return tmp_path / "source" / "tree"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def test_a_tree(source: Path, target: Path) -> None:
    side = TakingSide(target)
    assert transfer([source], side) == []
    assert files_in(target) == complete(TREE)
    assert (side.tally.files_done, side.tally.kept) == (102, 0)


def test_files_and_folders_at_once(source: Path, target: Path) -> None:
    paths = [source / "a" / "big", source / "a" / "b", source / "empty"]
    assert transfer(paths, TakingSide(target)) == []
    assert files_in(target) == {
        "b": None,
        "b/none": b"",
        "big": TREE["tree/a/big"],
        "empty": None,
    }


def test_once_more_nothing_is_sent(source: Path, target: Path) -> None:
    assert transfer([source], TakingSide(target)) == []
    before = {path: path.lstat().st_mtime_ns for path in target.rglob("*")}
    side = TakingSide(target)
    assert transfer([source], side) == []
    assert (side.tally.files_done, side.tally.moved) == (102, 0)
    assert {path: path.lstat().st_mtime_ns for path in target.rglob("*")} == before


@pytest.mark.parametrize("at_most", [3, 1000, 1_048_700, 2_500_000, 2_999_999, 3_010_000])
def test_it_is_taken_up_where_it_ended(source: Path, target: Path, at_most: int) -> None:
    side = TakingSide(target)
    transfer([source], side, at_most=at_most)
    moved = side.tally.moved
    side = TakingSide(target)
    assert transfer([source], side) == []
    assert files_in(target) == complete(TREE)
    assert side.tally.kept == moved
    assert side.tally.moved + moved == sum(len(content or b"") for content in TREE.values())


def test_what_has_changed_meanwhile_begins_anew(source: Path, target: Path) -> None:
    transfer([source], TakingSide(target), at_most=2_000_000)
    changed = bytearray(TREE["tree/a/big"] or b"")
    changed[5] ^= 1
    (source / "a" / "big").write_bytes(changed)
    side = TakingSide(target)
    assert transfer([source], side) == []
    assert files_in(target) == complete({**TREE, "tree/a/big": bytes(changed)})


def test_what_was_spoilt_here_meanwhile_begins_anew(source: Path, target: Path) -> None:
    transfer([source / "a" / "big"], TakingSide(target), at_most=2_000_000)
    [partial] = target.iterdir()
    with partial.open("r+b") as file:
        file.write(b"spoilt")
    assert transfer([source / "a" / "big"], TakingSide(target)) == []
    assert files_in(target) == {"big": TREE["tree/a/big"]}


def test_what_one_peer_has_begun_is_not_gone_on_with_by_another(source: Path, target: Path) -> None:
    """It would learn whether it is the same."""
    transfer([source / "a" / "big"], TakingSide(target), at_most=2_000_000)
    side = TakingSide(target, OTHER)
    assert transfer([source / "a" / "big"], side) == []
    assert side.tally.kept == 0
    assert len(list(target.glob(f"{RESERVED_PREFIX}*"))) == 1


def test_names_of_parts_differ() -> None:
    names = {
        partial_name(peer_id, name, size)
        for peer_id in (PEER_ID, OTHER)
        for name in ("a", "b")
        for size in (1, 2)
    }
    assert len(names) == 8


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_with_other_content_is_kept(source: Path, target: Path, same_size: bool) -> None:
    mine = b"m" * (3_000_000 if same_size else 5)
    make_tree(target, {"tree/a/big": mine})
    if same_size:
        [failure] = transfer([source], TakingSide(target))
        assert failure.startswith("'tree/a/big' was not taken: it is here already with other")
        assert files_in(target) == complete({**TREE, "tree/a/big": mine})
    else:
        with pytest.raises(FilesError, match="'tree/a/big' is here already, and is something else"):
            transfer([source], TakingSide(target))
        assert files_in(target) == complete({"tree/a/big": mine})


def test_a_file_that_another_program_receives(source: Path, target: Path) -> None:
    first, second = TakingSide(target), TakingSide(target)
    transfer([source / "a" / "big"], first, at_most=0)
    with_lock = target / partial_name(PEER_ID, "big", 3_000_000)
    with with_lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FilesError, match="another program is receiving it"):
            transfer([source / "a" / "big"], second)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: path.write_bytes(b"longer"), "it has changed since it was offered"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "Too many levels of symbol"),
        (_make_pipe, "it is no regular file"),
    ],
)
def test_a_file_that_changes_before_it_is_sent(
    source: Path, target: Path, change: object, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(change)
    begin = taker.Taker.begin

    def begin_late(self: taker.Taker) -> bytes:
        change(source / "a" / "small7")
        return begin(self)

    monkeypatch.setattr(taker.Taker, "begin", begin_late)
    [failure] = transfer([source], TakingSide(target))
    assert failure.startswith(
        f"'tree/a/small7' was not taken: the other side cannot give it: {reason}"
    )
    assert files_in(target) == complete({k: v for k, v in TREE.items() if k != "tree/a/small7"})


def test_a_file_that_becomes_shorter_while_it_is_sent(source: Path, target: Path) -> None:
    giver = Giver(GivenTree([source / "a" / "big"], never_stop), Tally(), never_stop)
    side = TakingSide(target)
    with Folder.at(target) as folder:
        giver.take_untrusted(side.begin(folder, side.hear_offer(giver.offer())))
        assert side.taker is not None
        side.taker.take_untrusted(giver.next_answer())
        os.truncate(source / "a" / "big", 2_000_000)
        while answer := giver.next_answer():
            side.taker.take_untrusted(answer)
        [failure] = side.taker.failures
    assert failure.endswith("it has become shorter since it was offered")
    # What has come is kept, and dropped the next time.
    assert transfer([source / "a" / "big"], TakingSide(target)) == []
    assert (target / "big").stat().st_size == 2_000_000


def test_a_file_system_without_hard_links(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert transfer([source], TakingSide(target)) == []
    assert files_in(target) == complete(TREE)


def test_a_file_that_comes_to_be_where_there_are_no_hard_links(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        (target / "none").write_bytes(b"mine")
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    [failure] = transfer([source / "a" / "b" / "none"], TakingSide(target))
    assert failure.endswith("something of this name came to be here meanwhile, and was kept")
    assert (target / "none").read_bytes() == b"mine"
