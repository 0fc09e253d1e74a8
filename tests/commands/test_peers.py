"""``trio-p2p peers``: what is remembered, forgotten and named."""

import json
from pathlib import Path

import pytest

from trio_p2p import PeerId
from trio_p2p._commands import main as main_command
from trio_p2p._commands.known_peers import KnownPeers

from ..kit.commands import (
    BrokerTool,
    Ended,
    Tool,
    assert_sentence,
    command,
    connect,
    end_both,
    identity_option,
    listen,
    peer_id,
    run_main,
)

pytestmark = pytest.mark.once

BROKER = ("broker.example.org", 4433)
ALICE, BOB = PeerId(bytes(23)), PeerId(bytes([1]) * 23)


def peers(*arguments: str) -> Ended:
    with Tool(*command("trio-p2p", "peers", *arguments)) as tool:
        return tool.end()


@pytest.fixture
def known() -> KnownPeers:
    known_peers = KnownPeers()
    known_peers.remember(BROKER, "wonderland", ALICE)
    known_peers.remember(BROKER, "bob", BOB)
    known_peers.remember(("127.0.0.1", 1), "bob", ALICE)
    return known_peers


def test_none_yet() -> None:
    code, output, errors = peers()
    assert (code, output) == (0, b"")
    assert_sentence(errors, "no peer is known yet: ")


@pytest.mark.usefixtures("known")
def test_screen() -> None:
    assert peers("name", "carroll", str(ALICE)) == (0, b"", "")
    code, output, errors = peers()
    assert (code, errors) == (0, "")
    assert output.decode().splitlines() == [
        f"{ALICE}  carroll, as you have named it",
        f"{ALICE}  bob at 127.0.0.1:1",
        f"{ALICE}  wonderland at broker.example.org:4433",
        f"{BOB}  bob at broker.example.org:4433",
    ]


@pytest.mark.usefixtures("known")
def test_json() -> None:
    assert peers("name", "carroll", "wonderland") == (0, b"", "")
    code, output, errors = peers("--json")
    assert (code, errors) == (0, "")
    assert json.loads(output)[:2] == [
        {"peer_id": str(ALICE), "name": "carroll", "uid": None, "broker": None},
        {"peer_id": str(ALICE), "name": None, "uid": "bob", "broker": "127.0.0.1:1"},
    ]


def test_forget(known: KnownPeers) -> None:
    code, output, errors = peers("forget", "bob")
    assert (code, output) == (0, b"")
    assert errors.splitlines() == [
        "trio-p2p: forgot bob at broker.example.org:4433",
        "trio-p2p: forgot bob at 127.0.0.1:1",
    ]
    assert [peer.uid for peer in known.all()] == ["wonderland"]
    assert peers("forget", str(ALICE))[0] == 0
    assert known.all() == []


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("arguments", [["forget", "carroll"], ["name", "x", "carroll"]])
def test_unknown_peer(arguments: list[str]) -> None:
    code, output, errors = peers(*arguments)
    assert (code, output) == (1, b"")
    assert_sentence(errors, "no peer is known as 'carroll': `trio-p2p peers` shows those that are")


@pytest.mark.usefixtures("known")
def test_ambiguous_peer() -> None:
    code, _, errors = peers("name", "x", "bob")
    assert code == 1
    assert_sentence(errors, "several peers have answered to 'bob': give the peer id of one")


def test_name_is_given_to_another_peer(known: KnownPeers) -> None:
    for peer in (ALICE, BOB):
        assert peers("name", "friend", str(peer)) == (0, b"", "")
        assert known.named("friend") == peer


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("name", [str(ALICE), "", "x" * 129, "a\nb"])
def test_what_is_no_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = run_main(main_command.main, ["peers", "name", name, str(BOB)], capsys)
    assert code == 2
    assert "error: argument NAME: " in errors


@pytest.mark.usefixtures("directory")
def test_corrupt_file(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "known_peers").write_text("nonsense\n")
    for arguments in ([], ["forget", "bob"], ["name", "bob", str(BOB)]):
        code, _, errors = peers(*arguments)
        assert code == 1
        assert_sentence(errors, "line 1 of ")
    assert (directory / "known_peers").read_text() == "nonsense\n"


def test_full_disk() -> None:
    KnownPeers().remember(BROKER, "bob", BOB)
    with (
        Path("/dev/full").open("wb") as full,
        Tool(*command("trio-p2p", "peers"), stdout=full) as tool,
    ):
        code, _, errors = tool.end()
    assert code == 1
    assert_sentence(errors, "standard output cannot be written: No space left on device")


def test_name_stands_for_the_peer(broker: BrokerTool, tmp_path: Path) -> None:
    """Where a UID is asked for, and whom to admit."""
    option = identity_option(tmp_path)
    other = peer_id(option)
    assert peers("name", "my friend", other) == (0, b"", "")
    with (
        listen(broker, other, option) as receiver,
        connect(broker, "my friend") as sender,
    ):
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
    with (
        listen(broker, "uid", "--admit", "my friend") as receiver,
        connect(broker, "uid", option, "--expect", peer_id()) as sender,
    ):
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
