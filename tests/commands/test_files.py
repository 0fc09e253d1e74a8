"""``trio-p2p send`` and ``receive``: files come, after asking, and go on where they ended."""

import os
import signal
from pathlib import Path

import pytest

from trio_p2p._commands import main as main_command
from trio_p2p._files.names import RESERVED_PREFIX

from ..files.offers import files_in, make_tree
from ..kit.commands import (
    MEBIBYTE,
    NOBODY,
    SECONDS,
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    end_both,
    identity_option,
    peer_id,
    run_main,
)
from ..kit.files import receive, send
from ..kit.terminals import open_terminal, read_until

pytestmark = pytest.mark.once

CONTENT = os.urandom(3 * MEBIBYTE)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    make_tree(folder, {"photos/beach.jpg": CONTENT, "photos/empty": None, "notes.txt": b"hello\n"})
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def lines_of(errors: str) -> list[str]:
    return [line.removeprefix("trio-p2p: ") for line in errors.splitlines()]


def test_files_and_folders(broker: BrokerTool, uid: str, source: Path, target: Path) -> None:
    me = peer_id()
    with (
        send(broker, uid, source / "photos", source / "notes.txt") as sender,
        receive(broker, uid, "--yes", "--into", target) as receiver,
    ):
        of_receiver, of_sender = end_both(receiver, sender)
    assert of_receiver[:2] == of_sender[:2] == (0, b"")
    assert files_in(target) == files_in(source)
    assert lines_of(of_sender[2]) == [
        "2 files, 3.0 MiB, for the first peer that comes",
        f"on the other side run: trio-p2p receive {uid}",
        f"we are {me}",
        f"{me} has all files, and their checksums are right",
    ]
    assert lines_of(of_receiver[2]) == [
        f"{me} offers",
        "2 files, 3.0 MiB:",
        "    3.0 MiB  photos/beach.jpg",
        "        6 B  notes.txt",
        "received 2 files, 3.0 MiB; their checksums are right",
    ]


def test_into_the_current_folder_from_a_peer_id(
    broker: BrokerTool, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = peer_id()
    monkeypatch.chdir(source)
    with send(broker, me, "notes.txt") as sender:
        monkeypatch.chdir(target)
        with receive(broker, me, "-y") as receiver:
            assert [code for code, _, _ in end_both(receiver, sender)] == [0, 0]
    assert files_in(target) == {"notes.txt": b"hello\n"}


def test_what_is_here_is_not_sent_again(
    broker: BrokerTool, uid: str, source: Path, target: Path
) -> None:
    for expected in ("received 1 file, 3.0 MiB; their", "3.0 MiB of that seem to be here already"):
        with (
            send(broker, uid, source / "photos") as sender,
            receive(broker, uid, "--yes", "--into", target) as receiver,
        ):
            (code, _, errors), of_sender = end_both(receiver, sender)
        assert (code, of_sender[0]) == (0, 0)
        assert expected in errors
    assert files_in(target / "photos") == files_in(source / "photos")


@pytest.mark.parametrize("answer", [b"y\n", b"YES\n", b"n\n", b"\n", b"\x04"])
def test_the_user_is_asked_in_a_terminal(
    broker: BrokerTool, uid: str, source: Path, target: Path, answer: bytes
) -> None:
    is_yes = answer.lower().startswith(b"y")
    with (
        open_terminal() as (screen, streams),
        send(broker, uid, "--admit", peer_id(), source / "notes.txt") as sender,
        receive(
            broker, uid, "--into", target, stdin=streams, stdout=streams, stderr=streams
        ) as receiver,
    ):
        read_until(screen, b"Take them? [y/N] ")
        assert list(target.iterdir()) == []
        screen.write(answer)
        code, _, errors = sender.end()
        assert receiver.process.wait(SECONDS) == code == (0 if is_yes else 1)
    if is_yes:
        assert files_in(target) == {"notes.txt": b"hello\n"}
    else:
        assert list(target.iterdir()) == []
        ending = "the other side has not taken all files: its user or its disk does not take"
        assert lines_of(errors)[-1].startswith(ending)


def test_no_terminal_to_ask_at(capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = run_main(main_command.main, ["receive", "u", "--broker", NOBODY], capsys)
    assert code == 2
    assert "there is no terminal to ask whether to take the files: give --yes" in errors


def test_a_target_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["receive", "u", "--broker", NOBODY, "-y", "--into", str(tmp_path / "none")]
    code, errors = run_main(main_command.main, arguments, capsys)
    assert code == 2
    assert "no files can be written into " in errors


def test_a_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["send", "--uid", "u", "--broker", NOBODY, str(tmp_path / "none")]
    code, errors = run_main(main_command.main, arguments, capsys)
    assert code == 1
    assert "none' cannot be read: No such file or directory" in errors


def test_links_are_left_out(broker: BrokerTool, uid: str, source: Path, target: Path) -> None:
    (source / "photos" / "link").symlink_to("/etc/passwd")
    with (
        send(broker, uid, source / "photos") as sender,
        receive(broker, uid, "--yes", "--into", target) as receiver,
    ):
        _, of_sender = end_both(receiver, sender)
    assert "link' is left out: it is a link, or no file\n" in of_sender[2]
    assert files_in(target) == {"photos": None, "photos/beach.jpg": CONTENT, "photos/empty": None}


def test_what_is_in_the_way_stays(broker: BrokerTool, uid: str, source: Path, target: Path) -> None:
    make_tree(target, {"photos": b"mine"})
    with send(broker, uid, source / "photos") as sender:
        with receive(broker, uid, "--yes", "--into", target) as receiver:
            code, _, errors = receiver.end()
            assert code == 1
            assert_sentence(errors, "'photos' is here already, and is something else: nothing is ")
        # It waits for another peer, as any may have asked.
        (target / "photos").unlink()
        with receive(broker, uid, "--yes", "--into", target) as receiver:
            assert [code for code, _, _ in end_both(receiver, sender)] == [0, 0]


def test_a_file_with_other_content_is_kept_and_the_others_come(
    broker: BrokerTool, uid: str, source: Path, target: Path
) -> None:
    make_tree(target, {"notes.txt": b"other\n"})
    with (
        send(broker, uid, source / "notes.txt", source / "photos") as sender,
        receive(broker, uid, "--yes", "--into", target) as receiver,
    ):
        (code, _, errors), of_sender = end_both(receiver, sender)
    assert (code, of_sender[0]) == (1, 1)
    assert lines_of(errors)[-2:] == [
        "'notes.txt' was not taken: it is here already with other content, which was kept",
        "not all files were taken",
    ]
    assert files_in(target) == {**files_in(source), "notes.txt": b"other\n"}


def test_only_admitted_peers_get_files(
    broker: BrokerTool, uid: str, source: Path, target: Path, tmp_path: Path
) -> None:
    stranger = identity_option(tmp_path)
    with send(broker, uid, "--admit", peer_id(), source / "notes.txt") as sender:
        with receive(broker, uid, "--yes", "--into", target, stranger) as receiver:
            code, _, errors = receiver.end()
        assert code == 1
        assert "does not admit p2p" in errors
        assert list(target.iterdir()) == []
        with receive(broker, uid, "--yes", "--into", target) as receiver:
            assert [code for code, _, _ in end_both(receiver, sender)] == [0, 0]


def test_files_of_the_expected_peer_only(
    broker: BrokerTool, uid: str, source: Path, target: Path, tmp_path: Path
) -> None:
    other = peer_id(identity_option(tmp_path))
    with (
        send(broker, uid, source / "notes.txt"),
        receive(broker, uid, "--yes", "--into", target, "--expect", other) as receiver,
    ):
        code, _, errors = receiver.end()
    assert code == 1
    assert_sentence(errors, "the broker introduced another peer than the expected one")


def test_what_listens_is_no_sender(broker: BrokerTool, uid: str, target: Path) -> None:
    with broker.expecting_registration(uid):
        listener = Tool(*command("trio-p2p", "listen", uid), broker=broker.address)
    with listener, receive(broker, uid, "--yes", "--into", target) as receiver:
        code, _, errors = receiver.end()
    assert code == 1
    assert "the connection to the sender broke: " in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sender_that_waits_is_interrupted(
    broker: BrokerTool, uid: str, source: Path, number: signal.Signals
) -> None:
    with send(broker, uid, source / "photos") as sender:
        code, output, errors = sender.signal(number)
    assert (code, output) == (128 + number, b"")
    assert "Traceback" not in errors


def test_a_receiver_that_asks_is_interrupted(
    broker: BrokerTool, uid: str, source: Path, target: Path
) -> None:
    with (
        open_terminal() as (screen, streams),
        send(broker, uid, source / "photos") as sender,
        receive(broker, uid, "--into", target, stdin=streams, stderr=streams) as receiver,
    ):
        read_until(screen, b"Take them? [y/N] ")
        receiver.process.send_signal(signal.SIGINT)
        assert receiver.process.wait(SECONDS) == 128 + signal.SIGINT
        assert list(target.iterdir()) == []
        # The sender waits for the next one.
        with receive(broker, uid, "--yes", "--into", target) as second:
            assert [code for code, _, _ in end_both(second, sender)] == [0, 0]


def test_a_full_disk(broker: BrokerTool, uid: str, source: Path, target: Path) -> None:
    """What has come is kept, and the same command goes on when there is room."""
    limit = 2 * MEBIBYTE
    argv = command("trio-p2p", "receive", uid, "--yes", "--into", str(target))
    limited = ["sh", "-c", f'ulimit -f {limit // 512}; exec "$@"', "sh", *argv]
    with send(broker, uid, source / "photos") as sender:
        with Tool(*limited, broker=broker.address) as receiver:
            code, _, errors = receiver.end()
        assert code == 1
        assert "'photos/beach.jpg' cannot be written: File too large; what has come is" in errors
        [partial] = (target / "photos").glob(f"{RESERVED_PREFIX}*")
        assert 0 < partial.stat().st_size <= limit
        _, _, errors = sender.end()
        assert "the other side has not taken all files" in errors
    with (
        send(broker, uid, source / "photos") as sender,
        receive(broker, uid, "--yes", "--into", target) as receiver,
    ):
        assert [code for code, _, _ in end_both(receiver, sender)] == [0, 0]
    assert files_in(target)["photos/beach.jpg"] == CONTENT


@pytest.mark.usefixtures("kernel_network", "source")
@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("size=1m", "there is no room for the files: they have 3145728 more bytes, and the folder"),
        ("nr_inodes=3", "'photos/beach.jpg' cannot be written: No space left on device"),
    ],
)
def test_a_small_disk(broker: BrokerTool, uid: str, target: Path, limit: str, said: str) -> None:
    """Without room for all nothing is begun; nor is a file without room for its name."""
    argv = command("trio-p2p", "receive", uid, "--yes", "--into", str(target), "--quiet")
    script = (
        'mount -t tmpfs -o "$1" none "$0"; shift; "$@"; code=$?; '
        'find "$0" -type f -printf %P; exit $code'
    )
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    with (
        send(broker, uid, target.with_name("source") / "photos"),
        Tool(*own, str(target), limit, *argv, broker=broker.address) as receiver,
    ):
        code, output, errors = receiver.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, said)


def test_permissions_and_times(broker: BrokerTool, uid: str, source: Path, target: Path) -> None:
    """Between processes with different umasks; what gives others rights does not travel."""
    for name, permissions in (("photos/beach.jpg", 0o6755), ("notes.txt", 0o604)):
        (source / name).chmod(permissions)
        os.utime(source / name, (1_000_000_000, 1_000_000_000))
    argv = command("trio-p2p", "receive", uid, "--yes", "--into", str(target))
    careful = ["sh", "-c", 'umask 027; exec "$@"', "sh", *argv]
    with (
        send(broker, uid, source / "photos", source / "notes.txt") as sender,
        Tool(*careful, broker=broker.address) as receiver,
    ):
        assert [code for code, _, _ in end_both(receiver, sender)] == [0, 0]
    found = {path.name: path.stat() for path in (target / "photos/beach.jpg", target / "notes.txt")}
    assert {
        name: (oct(status.st_mode & 0o7777), status.st_mtime) for name, status in found.items()
    } == {
        "beach.jpg": ("0o750", 1_000_000_000),
        "notes.txt": ("0o600", 1_000_000_000),
    }


def test_closed_standard_error(broker: BrokerTool, uid: str, source: Path, target: Path) -> None:
    argv = command("trio-p2p", "receive", uid, "--yes", "--into", str(target))
    with (
        send(broker, uid, source / "photos") as sender,
        Tool("sh", "-c", 'exec "$@" 2>&-', "sh", *argv, broker=broker.address) as receiver,
    ):
        assert [code for code, _, _ in end_both(receiver, sender)] == [0, 0]
    assert files_in(target)["photos/beach.jpg"] == CONTENT
