"""The files that say who may use a broker: read, and read again."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_p2p import AccessFiles, Identity, LocalProtocolError
from trio_p2p._broker.access import LOOKING_TIME, Access


@pytest.fixture
def key(tmp_path: Path) -> Path:
    Identity.generate().save(tmp_path / "key.pem")
    return tmp_path / "key.pem"


def test_what_stands_in_the_files(tmp_path: Path, key: Path) -> None:
    for name, line in [("allow", "team-*"), ("deny", "mallory"), ("revoked", "00" * 8)]:
        (tmp_path / name).write_text(f"# comment\n{line}\n")
    rules = AccessFiles(
        True, (key,), tmp_path / "allow", tmp_path / "deny", tmp_path / "revoked"
    ).read()
    assert rules.is_closed
    assert len(rules.keys) == 1
    assert rules.allowed.patterns == ("team-*",)
    assert rules.denied.names == {"mallory"}
    assert rules.revoked == {bytes(8)}


def test_nothing_is_said() -> None:
    assert AccessFiles().read().admit_all


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda _path: AccessFiles(is_closed=True), "admits none: give --token-key or --allow"),
        (lambda path: AccessFiles(allow=path), "an open broker needs no tokens"),
        (lambda path: AccessFiles(token_keys=(path,)), "an open broker needs no tokens"),
        (lambda path: AccessFiles(deny=path / "none"), "none cannot be read (No such file"),
        (lambda path: AccessFiles(deny=path), "cannot be read (Is a directory)"),
    ],
)
def test_what_does_not_go_together(
    tmp_path: Path, make: Callable[[Path], AccessFiles], sentence: str
) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        make(tmp_path).read()
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"\xff", "is no text in UTF-8"), (b"ok\n\na\x01b\n", "list, line 3: this is no UID")],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "list"
    file.write_bytes(content)
    with pytest.raises(LocalProtocolError) as caught:
        AccessFiles(deny=file).read()
    assert sentence in str(caught.value)


async def test_a_file_is_read_again_when_it_has_changed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "deny"
    file.write_text("mallory\n")
    access = Access(AccessFiles(deny=file))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(access.watch)
        await trio.sleep(5 * LOOKING_TIME)
        assert not caplog.records
        file.write_text("mallory\neve\n")
        await trio.sleep(2 * LOOKING_TIME)
        assert access.admission.rules.denied.names == {"mallory", "eve"}
        assert "was read again" in caplog.text

        caplog.clear()
        file.write_text("a\x01b\n")
        await trio.sleep(9 * LOOKING_TIME)  # said once, and nothing has changed
        assert access.admission.rules.denied.names == {"mallory", "eve"}
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert "deny, line 1: this is no UID" in record.getMessage()

        file.unlink()
        await trio.sleep(2 * LOOKING_TIME)
        assert access.admission.rules.denied.names == {"mallory", "eve"}
        file.write_text("eve\n")
        await trio.sleep(2 * LOOKING_TIME)
        assert access.admission.rules.denied.names == {"eve"}
        nursery.cancel_scope.cancel(reason="the test is over")


def test_other_files_are_taken_over_if_they_are_right(tmp_path: Path) -> None:
    (tmp_path / "deny").write_text("mallory\n")
    access = Access(AccessFiles())
    access.reload(AccessFiles(deny=tmp_path / "deny"))
    assert access.admission.rules.denied.names == {"mallory"}
    with pytest.raises(LocalProtocolError):
        access.reload(AccessFiles(deny=tmp_path / "none"))
    assert access.admission.rules.denied.names == {"mallory"}
    access.reload(AccessFiles())
    assert access.admission.rules.admit_all
