"""``trio-p2p chat``: lines, names, clean ends, and what a hostile peer can do to a terminal."""

import signal

import pytest
from hypothesis import given, strategies as st

from trio_p2p._commands import main as main_command
from trio_p2p._commands.chat import MAX_LINE_CHARACTERS, UntrustedLines

from ..kit.commands import (
    NOBODY,
    SECONDS,
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    peer_id,
    run_main,
)


def start(broker: BrokerTool, uid: str, *options: str) -> Tool:
    return Tool(*command("trio-p2p", "chat", uid, *options), broker=broker.address)


def start_listening(broker: BrokerTool, uid: str, *options: str) -> Tool:
    tool = start(broker, uid, "--listen", *options)
    assert tool.errors.readline().startswith(b"trio-p2p: waiting for a peer as ")
    return tool


@pytest.mark.once
def test_two_people(broker: BrokerTool, uid: str) -> None:
    with (
        start_listening(broker, uid, "--name=Alice") as alice,
        start(broker, uid, "--name=Bob") as bob,
    ):
        assert alice.errors.readline() == f"trio-p2p: talking to Bob, who is {peer_id()}\n".encode()
        bob.say(b"hello\n")
        assert alice.output.readline() == b"Bob: hello\n"
        alice.say("grüß dich\n".encode())
        assert bob.output.readline().decode() == "Alice: grüß dich\n"
        code, output, errors = bob.end(b"bye")
        assert (code, output) == (0, b"")
        assert errors.endswith("trio-p2p: Alice has left\n")
        assert alice.end() == (0, b"Bob: bye\n", "trio-p2p: Bob has left\n")


@pytest.mark.once
def test_escape_sequences_do_not_reach_the_terminal(broker: BrokerTool, uid: str) -> None:
    with start_listening(broker, uid) as receiver, start(broker, uid) as sender:
        sender.say(b"\x1b[2J\x07\xff\n")
        line = receiver.output.readline().decode()
        sign = "\N{REPLACEMENT CHARACTER}"
        assert line.endswith(f": {sign}[2J{sign}{sign}\n")
        assert sender.end()[0] == 0
        assert receiver.end()[0] == 0


@pytest.mark.once
@pytest.mark.parametrize("stopped", ["listener", "caller"])
def test_interrupt(broker: BrokerTool, uid: str, stopped: str) -> None:
    with start_listening(broker, uid) as receiver, start(broker, uid) as sender:
        assert receiver.errors.readline().startswith(b"trio-p2p: talking to ")
        assert sender.errors.readline().startswith(b"trio-p2p: talking to ")
        tools = (receiver, sender) if stopped == "listener" else (sender, receiver)
        assert tools[0].signal(signal.SIGINT)[:2] == (130, b"")
        code, output, errors = tools[1].end()
        assert (code, output) == (1, b"")
        assert_sentence(errors, "the connection to the peer broke: ")


@pytest.mark.once
def test_interrupt_while_it_waits(broker: BrokerTool, uid: str) -> None:
    with start_listening(broker, uid) as receiver:
        assert receiver.signal(signal.SIGTERM) == (143, b"", "")


@pytest.mark.once
def test_reader_that_has_ended(broker: BrokerTool, uid: str) -> None:
    with start_listening(broker, uid) as receiver, start(broker, uid) as sender:
        receiver.errors.readline()
        receiver.output.close()
        sender.say(b"hello\n")
        assert receiver.process.wait(SECONDS) == 1
        assert b"standard output is closed" in receiver.errors.read()
        assert sender.end()[0] == 1


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--listen", "--expect", peer_id.__name__], "is not a peer id"),
        (["--admit", "bob"], "who connects expects: say --expect instead of --admit"),
        (["--name", "\x1b"], "is no name: give up to 32 characters that can be printed"),
        (["--name", ""], "is no name: give up to 32 characters that can be printed"),
    ],
)
def test_wrong_usage(options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["chat", "uid", "--broker", NOBODY, *options]
    code, errors = run_main(main_command.main, arguments, capsys)
    assert code == 2
    assert sentence in errors


@given(st.lists(st.binary(max_size=2 * MAX_LINE_CHARACTERS)))
def test_lines_of_any_bytes(pieces: list[bytes]) -> None:
    lines = UntrustedLines()
    seen = [line for piece in pieces for line in lines.feed(piece)] + lines.end()
    assert all(line.replace("\N{NO-BREAK SPACE}", " ").isprintable() for line in seen)
    assert all(len(line) <= 16 * MAX_LINE_CHARACTERS for line in seen)  # with four spaces for a tab


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=99)))
def test_lines_come_as_they_were(texts: list[str]) -> None:
    lines = UntrustedLines()
    data = "".join(f"{text}\n" for text in texts).encode()
    assert [line for byte in data for line in lines.feed(bytes([byte]))] + lines.end() == texts


def test_an_endless_line_is_cut() -> None:
    lines = UntrustedLines()
    assert lines.feed(b"x" * MAX_LINE_CHARACTERS) == []
    assert lines.feed(b"x") == ["x" * MAX_LINE_CHARACTERS]
    assert lines.end() == ["x"]
