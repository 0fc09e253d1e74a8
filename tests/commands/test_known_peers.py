"""The peers that are known: kept in a file, compared, and never replaced silently."""

import fcntl
import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from trio_p2p._commands.known_peers import KnownPeers
from trio_p2p._commands.run import CommandError
from trio_p2p._errors import WrongPeerError
from trio_p2p._identity.peer_id import PeerId

from ..kit.commands import (
    BrokerTool,
    assert_sentence,
    connect,
    end_both,
    identity_option,
    listen,
    peer_id,
)
from .files import PROCESSES, mode_of, run_at_once
from .reports import read_report


@pytest.mark.once
@pytest.mark.slow
def test_peer_is_remembered(
    broker: BrokerTool, uid: str, configuration: Path, tmp_path: Path
) -> None:
    known_peers = configuration / "known_peers"
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
    line = json.loads(known_peers.read_text())
    assert line == [broker.address, uid, peer_id()]
    report = tmp_path / "report.json"
    with (
        listen(broker, uid, identity_option(tmp_path)),
        connect(broker, uid, "--report", str(report)) as sender,
    ):
        code, output, errors = sender.end(b"secret")
    assert (code, output) == (1, b"")
    assert_sentence(errors, f"the peer behind {uid!r} at {broker.address} is not the one it was: ")
    assert "Another program may be impersonating it. " in errors
    assert errors.endswith(f" run `trio-p2p peers forget {uid}` and connect again\n")
    assert json.loads(known_peers.read_text()) == line
    assert read_report(report)["path"] is None


@pytest.mark.once
def test_corrupt_known_peers(broker: BrokerTool, uid: str, configuration: Path) -> None:
    configuration.mkdir()
    (configuration / "known_peers").write_text("nonsense\n")
    with listen(broker, uid), connect(broker, uid) as sender:
        code, _, errors = sender.end()
    assert code == 1
    assert_sentence(errors, f"line 1 of {configuration / 'known_peers'} is corrupt: remove it")


BROKER = ("broker.example", 4433)
UID = "printer"
PEER = PeerId(bytes(23))
OTHER_PEER = PeerId(bytes(range(23)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "known_peers"


def test_nobody_is_known_at_first(directory: Path) -> None:
    known = KnownPeers()
    assert known.lookup(BROKER, UID) is None
    assert not directory.exists()


def test_a_peer_is_remembered_in_the_file_of_the_user(directory: Path) -> None:
    KnownPeers().remember(BROKER, UID, PEER)
    assert KnownPeers().lookup(BROKER, UID) == PEER
    assert mode_of(directory / "known_peers") == 0o600
    assert {file.name for file in directory.iterdir()} == {"known_peers", "known_peers.lock"}


def test_each_line_is_one_receiver(path: Path) -> None:
    known = KnownPeers(path)
    known.remember(BROKER, UID, PEER)
    known.remember(("2001:db8::1", 1), 'a "größe"', OTHER_PEER)
    assert path.read_text("ascii").splitlines() == [
        f'["broker.example:4433", "printer", "{PEER}"]',
        f'["[2001:db8::1]:1", "a \\"gr\\u00f6\\u00dfe\\"", "{OTHER_PEER}"]',
    ]


def test_the_same_uid_at_another_broker_is_another_receiver(path: Path) -> None:
    known = KnownPeers(path)
    known.remember(BROKER, UID, PEER)
    for broker in (("broker.example", 4434), ("other.example", 4433)):
        assert known.lookup(broker, UID) is None
        known.remember(broker, UID, OTHER_PEER)
    assert known.lookup(BROKER, UID) == PEER
    assert known.lookup(BROKER, UID.upper()) is None


def test_the_name_of_a_broker_has_no_case(path: Path) -> None:
    KnownPeers(path).remember(("Broker.Example", 4433), UID, PEER)
    assert KnownPeers(path).lookup(BROKER, UID) == PEER


def test_remembering_a_peer_again_changes_nothing(path: Path) -> None:
    known = KnownPeers(path)
    known.remember(BROKER, UID, PEER)
    before = path.stat()
    known.remember(BROKER, UID, PEER)
    assert path.stat().st_ino == before.st_ino


def test_a_peer_is_not_replaced_by_another(path: Path) -> None:
    known = KnownPeers(path)
    known.remember(BROKER, UID, PEER)
    with pytest.raises(WrongPeerError, match=f"{OTHER_PEER} answers, and .* {PEER}. A") as caught:
        known.remember(BROKER, UID, OTHER_PEER)
    assert (caught.value.expected, caught.value.found) == (PEER, OTHER_PEER)
    assert known.lookup(BROKER, UID) == PEER


def test_a_changed_peer_is_explained_with_all_that_helps(path: Path) -> None:
    error = KnownPeers(path).changed_peer_error(BROKER, UID, known=PEER, found=None)
    for part in (str(PEER), "without proof", "forget printer`", "broker.example:4433"):
        assert part in str(error)


def test_a_uid_that_is_a_peer_id_is_never_stored(path: Path) -> None:
    known = KnownPeers(path)
    known.remember(BROKER, str(PEER), PEER)
    assert known.lookup(BROKER, str(PEER)) is None
    assert not path.exists()


@given(uids=st.lists(st.text(min_size=1), unique=True, max_size=5))
def test_every_uid_is_found_again(
    tmp_path_factory: pytest.TempPathFactory, uids: list[str]
) -> None:
    known = KnownPeers(tmp_path_factory.mktemp("known") / "known_peers")
    for number, uid in enumerate(uids):
        known.remember(BROKER, uid, PeerId(bytes([number] * 23)))
    for number, uid in enumerate(uids):
        assert known.lookup(BROKER, uid) == PeerId(bytes([number] * 23))


@pytest.mark.parametrize(
    "line",
    [
        b"broker.example:4433 printer",
        b'["broker.example:4433", "printer"]',
        b'["broker.example:4433", "printer", 1]',
        b'{"broker.example:4433": "printer"}',
        b'["broker.example:4433", "printer", "%s' % str(PEER).encode(),
        b'["broker.example:4433", "printer", "%s"]' % str(PEER).replace("a", "b", 1).encode(),
        b'["broker.example:4433", "\xff", "%s"]' % str(PEER).encode(),
        b" ",
        b"\0",
        b"[" * 100_000,
    ],
)
def test_a_corrupt_line_is_named_and_kept(path: Path, line: bytes) -> None:
    known = KnownPeers(path)
    known.remember(BROKER, UID, PEER)
    with path.open("ab") as file:
        file.write(b"\n" + line + b"\n")
    before = path.read_bytes()
    with pytest.raises(CommandError, match=rf"line 3 of {path} is corrupt: remove it"):
        known.lookup(BROKER, UID)
    with pytest.raises(CommandError, match="line 3"):
        known.remember(BROKER, "other", PEER)
    assert path.read_bytes() == before


def test_two_peers_for_one_receiver_are_refused(path: Path) -> None:
    lines = [["broker.example:4433", UID, str(peer)] for peer in (PEER, PEER, OTHER_PEER)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(CommandError, match=r"line 3 of .* contradicts an earlier line"):
        KnownPeers(path).lookup(BROKER, UID)


def test_a_last_line_without_its_end_is_a_line(path: Path) -> None:
    path.write_text(json.dumps(["broker.example:4433", UID, str(PEER)]))
    known = KnownPeers(path)
    known.remember(BROKER, "other", OTHER_PEER)
    assert known.lookup(BROKER, UID) == PEER
    assert known.lookup(BROKER, "other") == OTHER_PEER


def test_a_file_that_cannot_be_used_is_explained(tmp_path: Path, path: Path) -> None:
    path.mkdir()
    with pytest.raises(CommandError, match=r"known_peers cannot be read: Is a directory"):
        KnownPeers(path).lookup(BROKER, UID)
    with pytest.raises(CommandError, match=r"cannot be written: No such file or directory"):
        KnownPeers(tmp_path / "missing" / "known_peers").remember(BROKER, UID, PEER)


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CommandError, match="cannot be written: No space left on device"):
        KnownPeers(path).remember(BROKER, UID, PEER)
    assert [file.name for file in path.parent.iterdir()] == ["known_peers.lock"]


def test_a_peer_is_remembered_after_whoever_else_writes(path: Path) -> None:
    lock = path.with_name("known_peers.lock")
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=KnownPeers(path).remember, args=(BROKER, UID, PEER))
        thread.start()
        KnownPeers(path).lookup(BROKER, UID)  # who reads does not wait
        path.write_text(json.dumps(["broker.example:4433", "other", str(OTHER_PEER)]) + "\n")
    thread.join()
    assert KnownPeers(path).lookup(BROKER, "other") == OTHER_PEER
    assert KnownPeers(path).lookup(BROKER, UID) == PEER


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from trio_p2p._commands.known_peers import KnownPeers\n"
        "from trio_p2p._identity.peer_id import PeerId\n"
        "number = int(sys.argv[1])\n"
        "known = KnownPeers(Path(sys.argv[2]))\n"
        "print('ready', flush=True)\n"
        "input()\n"
        "for i in range(10):\n"
        "    known.remember(('broker', 1), f'{number} {i}', PeerId(bytes([number] * 23)))\n"
    )
    run_at_once(program, str(path))
    known = KnownPeers(path)
    for number in range(PROCESSES):
        for i in range(10):
            assert known.lookup(("broker", 1), f"{number} {i}") == PeerId(bytes([number] * 23))
