"""``trio-p2p listen --keep`` and ``--exec``, and ``connect --wait``."""

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trio

from trio_p2p import open_peer
from trio_p2p._commands import main as main_command
from trio_p2p._commands.keeping import MAX_COMMANDS

from ..kit.commands import (
    MEBIBYTE,
    NOBODY,
    SECONDS,
    BrokerTool,
    Tool,
    assert_sentence,
    connect,
    end_both,
    identity_option,
    listen,
    peer_id,
    run_main,
)

pytestmark = pytest.mark.once


def test_keep_takes_many_one_after_another(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "--keep", stdin=subprocess.DEVNULL) as receiver:
        for number in range(3):
            data = os.urandom(MEBIBYTE) + b"\n"
            with connect(broker, uid) as sender, ThreadPoolExecutor() as pool:
                ended = pool.submit(sender.end, data)
                assert read_exactly(receiver, len(data)) == data, number
                assert ended.result() == (0, b"", "")
        assert receiver.signal(signal.SIGTERM) == (143, b"", "")


def test_keep_mixes_no_lines_of_many_at_once(broker: BrokerTool, uid: str) -> None:
    lines = {f"{number}".encode() * 1000 + b"\n" for number in range(4)}
    with ExitStack() as stack:
        receiver = stack.enter_context(listen(broker, uid, "--keep"))
        senders = [stack.enter_context(connect(broker, uid)) for _ in lines]
        for sender, line in zip(senders, lines, strict=True):
            sender.say(line[:-1])
        for sender in senders:
            sender.say(b"\n")
        assert {read_exactly(receiver, len(line)) for line in lines} == lines
        # One that says half a line holds up no other one.
        senders[0].say(b"half a")
        senders[1].say(b"another\n")
        assert read_exactly(receiver, 8) == b"another\n"
        senders[0].input.close()
        assert read_exactly(receiver, 6) == b"half a"
        assert senders[0].process.wait(SECONDS) == 0
        senders[1].say(b"one more\n")  # which is no second half
        assert read_exactly(receiver, 10) == b"\none more\n"


def test_keep_writes_a_long_line_in_pieces(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "--keep") as receiver, connect(broker, uid) as sender:
        sender.say(bytes(65_537))
        assert read_exactly(receiver, 65_537) == bytes(65_537)


def test_keep_says_what_was_cut_short(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "--keep") as receiver:
        with connect(broker, uid) as sender:
            sender.say(b"x\nhalf")
            assert read_exactly(receiver, 2) == b"x\n"
            sender.signal(signal.SIGINT)
        assert read_exactly(receiver, 4) == b"half"
        line = receiver.errors.readline().decode()
        assert line.startswith(f"trio-p2p: what {peer_id()} sent was cut short: ")


def test_keep_ends_with_its_reader(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "--keep") as receiver, connect(broker, uid) as sender:
        receiver.output.close()
        receiver.process.stdout = None
        sender.say(b"x\n")
        code, _, errors = receiver.end()
        assert code == 1
        assert_sentence(errors, "standard output is closed: its reader has ended")


def test_command(broker: BrokerTool, uid: str) -> None:
    """The end of standard input is passed on, while there is output, and so is its end."""
    data = os.urandom(MEBIBYTE)
    with listen(broker, uid, "--exec=sha256sum") as receiver, connect(broker, uid) as sender:
        (code, output, errors), ended = end_both(sender, receiver, data, b"")
    assert (code, errors) == (0, "")
    assert output.endswith(b"  -\n")
    assert len(output) == 64 + 4
    assert ended == (0, b"", "")


def test_command_that_ends_first(broker: BrokerTool, uid: str) -> None:
    """The peer's standard input is open, and nothing reads what may come of it."""
    with listen(broker, uid, "--exec=echo hello") as receiver, connect(broker, uid) as sender:
        assert sender.output.read() == b"hello\n"
        assert sender.process.wait(SECONDS) == 0
        assert receiver.end() == (0, b"", "")


def test_command_knows_the_peer(broker: BrokerTool, uid: str) -> None:
    with (
        listen(broker, uid, "--exec", "sh -c 'echo $TRIO_P2P_PEER'"),
        connect(broker, uid) as sender,
    ):
        assert sender.end() == (0, f"{peer_id()}\n".encode(), "")


def test_command_that_reads_no_more(broker: BrokerTool, uid: str) -> None:
    with (
        Path("/dev/zero").open("rb") as endless,
        listen(broker, uid, "--exec=head -c 1") as receiver,
        connect(broker, uid, stdin=endless) as sender,
    ):
        code, output, errors = sender.end()
        assert (code, output) == (1, b"\0")
        assert_sentence(errors, "the connection to the peer broke: the peer has closed the stream")
        assert receiver.end() == (0, b"", "")


@pytest.mark.parametrize(
    ("line", "reason"),
    [("exit 3", "has ended with exit status 3"), ("kill -9 $$", "was killed by SIGKILL")],
)
@pytest.mark.parametrize("keep", [[], ["--keep"]])
def test_command_that_fails(
    broker: BrokerTool, uid: str, line: str, reason: str, keep: list[str]
) -> None:
    with (
        listen(broker, uid, f"--exec=sh -c 'echo x; {line}'", *keep) as receiver,
        connect(broker, uid) as sender,
    ):
        code, output, errors = sender.end()
        if "kill" in line:
            assert code == 1
            assert_sentence(errors, f"the connection to the peer broke: the command {reason}")
        else:
            assert (code, output, errors) == (0, b"x\n", "")
        if keep:
            said = receiver.errors.readline().decode()
            assert said == f"trio-p2p: for {peer_id()}: sh {reason}\n"
            assert receiver.signal(signal.SIGTERM) == (143, b"", "")
        else:
            assert receiver.end() == (1, b"", f"trio-p2p: sh {reason}\n")


def test_command_for_each_peer(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "--keep", "--exec=cat") as receiver, ExitStack() as stack:
        senders = [stack.enter_context(connect(broker, uid)) for _ in range(3)]
        for sender in senders:
            sender.say(b"x\n")
        for sender in senders:
            assert sender.output.readline() == b"x\n"
        for sender in senders:
            assert sender.end(b"y") == (0, b"y", "")
        assert receiver.signal(signal.SIGINT) == (130, b"", "")


@pytest.mark.parametrize("keep", [[], ["--keep"]])
@pytest.mark.parametrize("interrupts_receiver", [False, True])
def test_commands_end_with_their_peers(
    broker: BrokerTool, uid: str, keep: list[str], interrupts_receiver: bool
) -> None:
    """With all that they have started, though it ignores the end of its input."""
    line = "--exec=sh -c 'sleep 1000 & echo; wait'"
    with listen(broker, uid, line, *keep) as receiver, connect(broker, uid) as sender:
        assert sender.output.readline() == b"\n"
        [shell] = children_of(receiver.process.pid)
        started = [shell, *children_of(shell)]
        assert len(started) == 2
        interrupted = receiver if interrupts_receiver else sender
        assert interrupted.signal(signal.SIGINT)[0] == 130
        if interrupts_receiver:
            assert sender.process.wait(SECONDS) == 1
        elif keep:
            assert b" was ended: " in receiver.errors.readline()
        else:
            code, _, errors = receiver.end()
            assert code == 1
            assert_sentence(errors, "sh was ended: ")
        assert not any(is_running(pid) for pid in started)


def test_what_a_command_leaves_behind_ends_with_its_peer(broker: BrokerTool, uid: str) -> None:
    line = "--exec=sh -c 'sleep 1000 & echo $!'"
    with listen(broker, uid, line) as receiver, connect(broker, uid) as sender:
        left_behind = int(sender.output.readline())
        assert is_running(left_behind)
        assert sender.signal(signal.SIGINT)[0] == 130
        assert receiver.end()[0] == 1
        while is_running(left_behind):  # it has its signal
            time.sleep(0.01)


def test_command_that_ignores_to_be_terminated(broker: BrokerTool, uid: str) -> None:
    line = "--exec=sh -c 'trap : TERM; echo; while :; do sleep 0.1; done'"
    with listen(broker, uid, line) as receiver, connect(broker, uid) as sender:
        assert sender.output.readline() == b"\n"
        [shell] = children_of(receiver.process.pid)
        assert receiver.signal(signal.SIGINT)[0] == 130
        assert not is_running(shell)


async def test_more_commands_than_may_run(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "--keep", "--exec=cat") as receiver:
        async with open_peer(broker.address) as peer:
            streams = [await peer.open_stream(uid) for _ in range(MAX_COMMANDS)]
            for stream in streams:
                await stream.send_all(b"x")
            for stream in streams:
                assert await stream.receive_some() == b"x"
            stream = await peer.open_stream(uid)
            with pytest.raises(trio.BrokenResourceError, match="100 commands are running"):
                await stream.receive_some()
            await streams[0].aclose()
            while True:
                stream = await peer.open_stream(uid)
                await stream.send_all(b"y")
                with suppress(trio.BrokenResourceError):  # until the first one has ended
                    assert await stream.receive_some() == b"y"
                    break
        line = receiver.errors.readline().decode()
        assert line == f"trio-p2p: for {peer.peer_id}: 100 commands are running already\n"
        assert receiver.signal(signal.SIGTERM)[0] == 143


def children_of(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(each) for thread in threads for each in (thread / "children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_exactly(tool: Tool, count: int) -> bytes:
    pieces = []
    while count:
        piece = tool.output.read(count)
        assert piece
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_sender_that_waits(broker: BrokerTool, uid: str, raw: list[str]) -> None:
    with connect(broker, uid, "--wait", *raw) as sender:
        broker.wait_for(f"uid={uid!r}")
        with listen(broker, uid, *raw) as receiver:
            assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]


def test_sender_that_is_interrupted_while_it_waits(broker: BrokerTool, uid: str) -> None:
    with connect(broker, uid, "--wait") as sender:
        broker.wait_for(f"uid={uid!r}")
        assert sender.signal(signal.SIGINT) == (130, b"", "")


def test_admission_of_many(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    mine = identity_option(tmp_path)
    with listen(broker, uid, "--keep", f"--admit={peer_id(mine)}") as receiver:
        with connect(broker, uid) as stranger:
            code, _, errors = stranger.end(b"no\n")
            assert code == 1
            assert f"the receiver does not admit {peer_id()}" in errors
        with connect(broker, uid, mine) as friend:
            assert friend.end(b"yes\n") == (0, b"", "")
        assert read_exactly(receiver, 4) == b"yes\n"


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--raw", "--keep"], "a raw connection is for one peer, and for the standard streams: "),
        (["--raw", "--exec=cat"], "a raw connection is for one peer, and for the standard stre"),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, errors = run_main(
        main_command.main, ["listen", "u", "--broker", NOBODY, *arguments], capsys
    )
    assert code == 2
    assert_sentence(errors, sentence)


@pytest.mark.parametrize("line", ["", "  ", "'", "no-such-program x", "/"])
def test_what_is_no_command(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = run_main(main_command.main, ["listen", "u", f"--exec={line}"], capsys)
    assert code == 2
    assert f"{line!r} is no command: " in errors
