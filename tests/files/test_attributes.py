"""Permissions and times travel with files, as far as the umask allows it and they make sense."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_p2p import RemoteProtocolError
from trio_p2p._files.attributes import current_umask
from trio_p2p._files.failures import FilesError
from trio_p2p._files.folder import Folder
from trio_p2p._files.given_tree import GivenTree
from trio_p2p._files.messages import MAX_MODIFIED, Entry, Offer
from trio_p2p._files.names import RESERVED_PREFIX

from .offers import TakingSide, content, frame, make_tree, never_stop, random_bytes, said, transfer

CONTENT = random_bytes(2_500_000)
MODIFIED = 1_234_567_890_123_456_789  # in February 2009


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make_tree(tmp_path / "source", {"program": CONTENT})
    return tmp_path / "source" / "program"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("given", "mask", "taken"),
    [
        (0o755, 0o022, 0o755),
        (0o644, 0o022, 0o644),
        (0o777, 0o022, 0o755),
        (0o777, 0o077, 0o700),
        (0o777, 0o000, 0o777),
        (0o600, 0o022, 0o600),
        (0o444, 0o022, 0o444),
        (0o4755, 0o022, 0o755),
        (0o2755, 0o022, 0o755),
        (0o1777, 0o022, 0o755),
        (0o111, 0o022, 0o511),  # its owner may read it, to compare it another time
    ],
    ids=oct,
)
def test_permissions(source: Path, target: Path, given: int, mask: int, taken: int) -> None:
    source.chmod(given)
    assert mode_of(source) == given
    with umask(mask):
        assert transfer([source], TakingSide(target)) == []
    assert mode_of(target / "program") == taken


@pytest.mark.parametrize("modified", [0, 1, MODIFIED, MAX_MODIFIED])
def test_times(source: Path, target: Path, modified: int) -> None:
    os.utime(source, ns=(modified, modified))
    # What a file system cannot hold, it has changed already.
    modified = source.stat().st_mtime_ns
    assert transfer([source], TakingSide(target)) == []
    assert (target / "program").stat().st_mtime_ns == modified


@pytest.mark.parametrize("modified", [-1, -(10**18), MAX_MODIFIED + 10**9])
def test_a_time_that_cannot_be_sent(source: Path, target: Path, modified: int) -> None:
    """Before 1970, or far ahead: the file is as old as it is here."""
    os.utime(source, ns=(modified, modified))
    if source.stat().st_mtime_ns == modified:  # else the file system holds none of these
        assert GivenTree([source], never_stop).listing.entries[0].modified is None
    started_at = target.stat().st_mtime_ns
    assert transfer([source], TakingSide(target)) == []
    assert (target / "program").stat().st_mtime_ns >= started_at


def test_a_file_that_is_not_complete_is_for_its_owner_only(source: Path, target: Path) -> None:
    source.chmod(0o555)
    os.utime(source, ns=(MODIFIED, MODIFIED))
    with umask(0):
        transfer([source], TakingSide(target), at_most=2_000_000)
        [partial] = target.glob(f"{RESERVED_PREFIX}*")
        assert mode_of(partial) == 0o600


def test_taken_up_where_it_ended(source: Path, target: Path) -> None:
    """What the file has then is what counts, also if that was changed in between."""
    source.chmod(0o644)
    transfer([source], TakingSide(target), at_most=2_000_000)
    source.chmod(0o755)
    os.utime(source, ns=(MODIFIED, MODIFIED))
    side = TakingSide(target)
    with umask(0o027):
        assert transfer([source], side) == []
    assert side.tally.kept > 0
    path = target / "program"
    assert (path.read_bytes(), mode_of(path)) == (CONTENT, 0o750)
    assert path.stat().st_mtime_ns == MODIFIED


def test_a_file_that_was_here_already_stays_as_it_is(source: Path, target: Path) -> None:
    path = target / "program"
    path.write_bytes(CONTENT)
    path.chmod(0o640)
    os.utime(path, ns=(MODIFIED, MODIFIED))
    source.chmod(0o755)
    assert transfer([source], TakingSide(target)) == []
    assert (mode_of(path), path.stat().st_mtime_ns) == (0o640, MODIFIED)


def test_a_file_system_without_permissions(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    source.chmod(0o755)
    os.utime(source, ns=(MODIFIED, MODIFIED))
    monkeypatch.setattr(os, "fchmod", refuse)
    assert transfer([source], TakingSide(target)) == []
    assert (target / "program").stat().st_mtime_ns == MODIFIED


def test_a_file_system_that_fails(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its name by then, and is complete: nothing is sent another time."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(os, "utime", fail)
        with pytest.raises(FilesError, match="Input/output error"):
            transfer([source], TakingSide(target))
    side = TakingSide(target)
    assert transfer([source], side) == []
    assert (side.tally.files_done, side.tally.moved) == (1, 0)


def test_the_umask_is_as_it_was() -> None:
    with umask(0o137):
        assert current_umask() == 0o137
        assert current_umask() == 0o137


LISTED: dict[str, object] = {"type": "listed", "name": "x", "size": 1}


@pytest.mark.parametrize("permissions", [0o4755, 0o2755, 0o1777, 0o1000, -1, 2**31, 1.0, True, "7"])
def test_permissions_that_are_none(target: Path, permissions: object) -> None:
    offer = said(Offer(1), frame({**LISTED, "permissions": permissions}))
    with pytest.raises(RemoteProtocolError, match="with a bad permissions"):
        TakingSide(target).hear_offer(offer)


@pytest.mark.parametrize("modified", [-1, MAX_MODIFIED + 1, 2**64 - 1, 1.5, False, "now"])
def test_times_that_are_none(target: Path, modified: object) -> None:
    offer = said(Offer(1), frame({**LISTED, "modified": modified}))
    with pytest.raises(RemoteProtocolError, match="with a bad modified"):
        TakingSide(target).hear_offer(offer)


def test_nothing_is_said_of_them(target: Path) -> None:
    """The file is like any other one that is made here."""
    data = b"7"
    side = TakingSide(target)
    listing = side.hear_offer(said(Offer(1), frame(LISTED)))
    assert listing.entries == [Entry("x", None, 1, None, None)]
    with Folder.at(target) as folder, umask(0o026):
        side.begin(folder, listing)
        assert side.taker is not None
        side.taker.take_untrusted(content(0, data, hashlib.sha256(data).digest()))
        side.taker.close()
    assert mode_of(target / "x") == 0o640
