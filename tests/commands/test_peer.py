"""``trio-p2p listen`` and ``connect``: who meets whom, and what goes wrong."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from trio_p2p import PeerId
from trio_p2p._commands import main as main_command
from trio_p2p._commands.known_peers import KnownPeers

from ..kit.commands import (
    NOBODY,
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    connect,
    end_both,
    identity_option,
    listen,
    open_broker,
    open_false_broker,
    peer_id,
    run_main,
)
from ..kit.loopback import reserved_port

pytestmark = pytest.mark.once


def test_one_peer_only(broker: BrokerTool, uid: str) -> None:
    """The receiver stays registered, so that its peer finds other paths; nobody else gets in."""
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        sender.say(b"x")
        assert receiver.output.read(1) == b"x"
        with connect(broker, uid) as late:
            code, _, errors = late.end(b"z")
            assert code == 1
            ending = "the connection to the peer broke: the receiver is going to end"
            assert_sentence(errors, ending)
        (code, output, errors), of_sender = end_both(receiver, sender, b"y", b"z")
    assert (code, output) == (0, b"z")
    refusal = f"trio-p2p: introduction to {uid!r} failed: the receiver is going to end"
    assert all(line.startswith(refusal) for line in errors.splitlines())
    assert of_sender == (0, b"y", "")


def test_raw_receiver_leaves_the_uid_to_others(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "--raw") as receiver, connect(broker, uid, "--raw") as sender:
        sender.say(b"x")
        assert receiver.output.read(1) == b"x"
        with connect(broker, uid, "--raw") as late:
            code, _, errors = late.end()
            assert code == 1
            assert_sentence(errors, f"no receiver is registered under {uid!r}")
        assert end_both(receiver, sender, b"y", b"z") == [(0, b"z", ""), (0, b"y", "")]


def test_broker_by_option(broker: BrokerTool, uid: str) -> None:
    elsewhere = "127.0.0.1:1"
    option = ["--broker", broker.address]
    with broker.expecting_registration(uid):
        receiver = Tool(*command("trio-p2p", "listen", "-q", uid, *option), broker=elsewhere)
    sender = Tool(*command("trio-p2p", "connect", "-q", uid, *option), broker=elsewhere)
    with receiver, sender:
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]


@pytest.mark.parametrize("raw_one", ["listen", "connect"])
def test_only_one_of_them_raw(broker: BrokerTool, uid: str, raw_one: str) -> None:
    options = {"listen": [], "connect": [], raw_one: ["--raw"]}
    with (
        listen(broker, uid, *options["listen"]),
        connect(broker, uid, *options["connect"]) as sender,
    ):
        code, output, errors = sender.end(b"secret")
    assert (code, output) == (2, b"")
    assert_sentence(errors, f"the broker at {broker.address} did not introduce this program to ")
    assert f"{uid!r}: the sender wants a" in errors


def test_unknown_uid(broker: BrokerTool, uid: str) -> None:
    with connect(broker, uid) as sender:
        code, output, errors = sender.end()
    assert (code, output) == (1, b"")
    assert_sentence(
        errors, f"no receiver is registered under {uid!r} at the broker at {broker.address}: "
    )


def test_taken_uid(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    other = identity_option(tmp_path)
    with listen(broker, uid), listen(broker, uid, other) as second:
        code, output, errors = second.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, f"another receiver is registered under {uid!r} at the broker at ")


def test_uid_taken_over_by_the_same_identity(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid) as first, listen(broker, uid) as second:
        code, output, errors = first.end()
        assert (code, output) == (1, b"")
        assert errors.splitlines()[-1].endswith("registered again by the same identity elsewhere)")
        with connect(broker, uid) as sender:
            assert end_both(second, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("subcommand", ["listen", "connect"])
def test_broker_lost(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    with open_false_broker(hangs_up=True) as (address, _):
        code, errors = run_main(main_command.main, [subcommand, "u", "--broker", address], capsys)
    assert code == 1
    assert_sentence(errors, f"the connection to the broker at {address} was lost (")


def test_receiver_finds_broker_again(uid: str) -> None:
    with ExitStack() as stack:
        reopen = partial(open_broker, "--no-probes", port=str(stack.enter_context(reserved_port())))
        broker = stack.enter_context(reopen())
        receiver = stack.enter_context(listen(broker, uid))
        assert broker.stop() == 0
        assert receiver.errors.readline().startswith(f"trio-p2p: {uid!r} is not".encode())
        with reopen() as successor:
            successor.wait_for(f"Register(number=0, uid={uid!r}, ")
            with connect(successor, uid) as sender:
                (code, output, errors), of_sender = end_both(receiver, sender, b"x", b"y")
    assert (code, output) == (0, b"y")
    assert of_sender == (0, b"x", "")
    assert "Traceback" not in errors


@pytest.mark.parametrize("options", [["--raw"], ["--grace=0.1"]])
def test_killed_peer(broker: BrokerTool, uid: str, options: list[str]) -> None:
    of_receiver = [option for option in options if option == "--raw"]
    with (
        Path("/dev/zero").open("rb") as endless,
        listen(broker, uid, *of_receiver) as receiver,
        connect(broker, uid, *options, stdin=endless) as sender,
    ):
        assert receiver.output.read(1) == b"\0"
        receiver.process.kill()
        code, _, errors = sender.end()
    assert code == 1
    assert_sentence(errors, "the connection to the peer broke: ")


def test_expected_peer(broker: BrokerTool, uid: str, configuration: Path) -> None:
    with (
        listen(broker, uid) as receiver,
        connect(broker, uid, "--expect", peer_id()) as sender,
    ):
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
    # It was for this run only.
    assert not (configuration / "known_peers").exists()


def test_expected_peer_needs_no_configuration_directory(
    broker: BrokerTool, uid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, identity = peer_id(), identity_option(tmp_path)
    with listen(broker, uid) as receiver:
        monkeypatch.setenv("XDG_CONFIG_HOME", "/proc/nowhere")
        with connect(broker, uid, identity, "--expect", expected) as sender:
            assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]


def test_unexpected_peer(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    expected = peer_id(identity_option(tmp_path))
    with listen(broker, uid) as receiver:
        with connect(broker, uid, "--expect", expected) as sender:
            code, output, errors = sender.end(b"secret")
        assert (code, output) == (1, b"")
        assert_sentence(
            errors, f"the broker introduced another peer than the expected one: expected {expected}"
        )
        assert peer_id() in errors
        # It still waits for a peer.
        with connect(broker, uid) as sender:
            (code, output, _), of_sender = end_both(receiver, sender, b"x", b"y")
    assert (code, output) == (0, b"y")
    assert of_sender == (0, b"x", "")


def test_only_admitted_peers_get_in(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    friend = identity_option(tmp_path)
    option = f"--admit={peer_id(friend)}"
    other = f"--admit={PeerId(bytes(23))}"
    with listen(broker, uid, other, option) as receiver:
        with connect(broker, uid) as stranger:
            code, output, errors = stranger.end(b"guessed")
        assert (code, output) == (1, b"")
        assert_sentence(errors, "the connection to the peer broke: the receiver does not admit p2p")
        with connect(broker, uid, friend) as sender:
            (code, output, errors), of_sender = end_both(receiver, sender, b"secret", b"y")
    assert (code, output) == (0, b"y")
    assert of_sender == (0, b"secret", "")


def test_a_remembered_peer_is_admitted_by_its_name(
    broker: BrokerTool, uid: str, configuration: Path, tmp_path: Path
) -> None:
    friend = identity_option(tmp_path)
    host, _, port = broker.address.rpartition(":")
    known_peers = KnownPeers(configuration / "known_peers")
    configuration.mkdir(mode=0o700)
    known_peers.remember((host, int(port)), "friend", PeerId.parse(peer_id(friend)))
    with (
        listen(broker, uid, "--admit=friend") as receiver,
        connect(broker, uid, friend) as sender,
    ):
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]


@pytest.mark.usefixtures("started_by_user")
def test_a_peer_that_is_not_remembered_is_not_admitted(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["listen", "u", "--admit", "friend", "--broker", NOBODY]
    code, errors = run_main(main_command.main, arguments, capsys)
    assert code == 2
    assert_sentence(errors, "'friend' is no peer to admit: give a peer id, as ")


def test_peer_id_as_uid(broker: BrokerTool, configuration: Path) -> None:
    uid = peer_id()
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
    assert not (configuration / "known_peers").exists()


@pytest.mark.usefixtures("started_by_user")
def test_peer_id_of_somebody_else_as_uid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = peer_id(identity_option(tmp_path))
    code, errors = run_main(main_command.main, ["listen", other, "--broker", NOBODY], capsys)
    assert code == 2
    assert_sentence(errors, f"{other} is the peer id of another identity: ")
