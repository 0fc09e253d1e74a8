"""What a user sees at a terminal of 80 columns and 24 lines."""

import re
import signal
import sys
from pathlib import Path

import pytest

from trio_p2p._commands import broker as broker_command
from trio_p2p._commands.known_peers import KnownPeers
from trio_p2p._commands.parsers import make_parser
from trio_p2p._identity.peer_id import PeerId

from ..kit.answering import answering
from ..kit.commands import (
    NOBODY,
    SECONDS,
    BrokerTool,
    Tool,
    command,
    connect,
    end_both,
    listen,
    peer_id,
)
from ..kit.files import receive, send
from ..kit.terminals import (
    COLUMNS,
    LINES,
    lines_of_screen,
    open_terminal,
    read_all,
    read_until,
    run_in_terminal,
)

pytestmark = pytest.mark.once

BROKER = ("broker.example.org", 4433)
ALICE = PeerId(bytes(23))
COLOURS = rb"\x1b\[(?:3\d|9\d|38;[\d;]+)m"
OVERVIEW = """\
usage: trio-p2p [--version] COMMAND ...

Encrypted streams between two programs behind NATs. Both sides name the same
broker, by --broker HOST:PORT or in TRIO_P2P_BROKER, and the same UID or code.

files      send        give files to a peer
           receive     take the files that a peer gives
people     chat        write to a peer, line by line
pipes      listen      wait for one peer and talk to it
           connect     connect to a peer that listens
TCP ports  expose      let peers reach TCP services from here
           forward     have local ports lead to a peer's services
measures   ping        measure round trips to a peer
           speed       measure how fast a stream to a peer is
           answer      answer the ping and speed of peers
network    doctor      say what this network does to connections
           demo        watch two peers being connected
names      peers       show, forget and name the peers that you know
           ticket      print where you are to be met, as one text
           id          print your peer id
shell      completion  have your shell complete all this

New here? Run trio-p2p demo. trio-p2p COMMAND --help shows how to use COMMAND.
"""


@pytest.fixture(autouse=True)
def _colour_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def test_overview(capsys: pytest.CaptureFixture[str]) -> None:
    make_parser().print_help()
    assert capsys.readouterr().out == OVERVIEW
    assert OVERVIEW.count("\n") < LINES  # the last one is the shell's


def test_the_overview_has_every_command() -> None:
    shown = re.findall(r"^.{11}(\w+)  ", OVERVIEW, re.MULTILINE)
    assert set(shown) == set(make_parser().purposes)


@pytest.mark.parametrize(
    "arguments",
    [*([each] for each in make_parser().purposes), ["peers", "forget"], ["peers", "name"]],
)
def test_help_of_a_command_fits_a_screen(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    with pytest.raises(SystemExit):
        make_parser().parse_args([*arguments, "--help"])
    usage, blank, purpose, *others = capsys.readouterr().out.splitlines()
    assert usage.startswith(f"usage: trio-p2p {' '.join(arguments)} [OPTION]...")
    assert (blank, purpose[0].isupper()) == ("", True)
    assert len(others) + 3 < LINES
    assert all(len(line) < COLUMNS for line in [usage, purpose, *others])


def test_usage_of_the_broker_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["token"]):
        with pytest.raises(SystemExit):
            broker_command.main([*arguments, "--help"])
        usage, blank, *_ = capsys.readouterr().out.splitlines()
        name = " ".join(["trio-p2p-broker", *arguments])
        assert (usage, blank) == (f"usage: {name} [OPTION]...", "")


@pytest.mark.parametrize(
    ("arguments", "screen"),
    [
        (
            [],
            [
                "usage: trio-p2p [--version] COMMAND ...",
                "       trio-p2p --help shows the options",
                "trio-p2p: error: the following arguments are required: COMMAND",
            ],
        ),
        (
            ["connect", "x", "--broker", "foo:bar"],
            [
                "usage: trio-p2p connect [OPTION]... UID",
                "       trio-p2p connect --help shows the options",
                "trio-p2p connect: error: argument --broker: 'foo:bar' is no broker: give",
                "  HOST:PORT, like 'broker.example.org:4433', with tls:// in front if it speaks",
                "  TLS",
            ],
        ),
        (
            ["connect", "x", "--broker", NOBODY],
            [
                f"trio-p2p: no broker answers at {NOBODY} (Connection refused): check its",
                "  address, and that trio-p2p-broker runs there",
            ],
        ),
    ],
)
def test_mistakes(arguments: list[str], screen: list[str]) -> None:
    code, shown = run_in_terminal(*command("trio-p2p", *arguments))
    assert code == (1 if NOBODY in arguments else 2)
    assert lines_of_screen(shown) == screen


def test_a_mistyped_command() -> None:
    _, shown = run_in_terminal(*command("trio-p2p", "lsten"))
    assert "argument COMMAND: invalid choice: 'lsten' (choose from" in shown.decode()
    assert all(len(line) <= COLUMNS for line in shown.decode().splitlines())


def test_a_ticket_is_one_word_below_its_picture() -> None:
    """It may be longer than a line: a word that the terminal breaks is copied as one."""
    argv = command("trio-p2p", "ticket", "my-uid", "--qr", f"--broker={NOBODY}")
    code, shown = run_in_terminal(*argv)
    *picture, ticket, end = shown.decode().split("\r\n")
    assert (code, end) == (0, "")
    assert re.fullmatch(r"p2pticket[a-z2-7]+", ticket)
    assert all(re.fullmatch("\x1b\\[97;40m[ █▀▄]+\x1b\\[0m", line) for line in picture)
    assert len(picture) + len(ticket) // COLUMNS + 1 < LINES


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_picture_without_colours(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    _, shown = run_in_terminal(*command("trio-p2p", "ticket", "--qr", f"--broker={NOBODY}"))
    assert b"\x1b" not in shown


# Peers, and colours.


@pytest.fixture
def known() -> KnownPeers:
    known_peers = KnownPeers()
    known_peers.remember(BROKER, "wonderland", ALICE)
    known_peers.name("[red]friend[/red] :smile:", ALICE)
    return known_peers


PEERS = [
    f"{ALICE}  [red]friend[/red] :smile:, as you",
    f"{'':45}have named it",
    f"{ALICE}  wonderland at",
    f"{'':45}broker.example.org:4433",
]


@pytest.mark.usefixtures("known")
def test_peers_by_rich() -> None:
    code, shown = run_in_terminal(*command("trio-p2p", "peers"))
    assert code == 0
    header, *rows = lines_of_screen(shown)
    assert header.split() == ["peer", "id", "known", "as"]
    assert rows == PEERS
    assert shown.startswith(b"\x1b[1mpeer id")


@pytest.mark.usefixtures("known")
def test_peers_in_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    code, shown = run_in_terminal(*command("trio-p2p", "peers"))
    assert code == 0
    assert b"\x1b" not in shown
    assert lines_of_screen(shown) == PEERS


def test_ping(broker: BrokerTool, uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = command("trio-p2p", "ping", uid, "--count=2", "--interval=0", "--only=relay")
    with answering(broker, uid):
        code, shown = run_in_terminal(*argv, broker=broker.address)
        monkeypatch.setenv("NO_COLOR", "1")
        code_without, shown_without = run_in_terminal(*argv, broker=broker.address)
    assert code == code_without == 0
    for each in shown, shown_without:
        connected, header, *rows, total, why = lines_of_screen(each)
        assert connected.startswith("connected to p2p")
        assert header == "  #  round trip  path"
        for row, number in zip(rows, "12", strict=True):
            assert re.fullmatch(rf"  {number} +\d+\.\d ms  relay, by {broker.address}", row)
        assert total.startswith("2 round trips: ")
        assert why.startswith("relayed, because no direct path was tried")
    assert re.findall(COLOURS, shown) == [b"\x1b[33m"] * 2
    assert not re.search(COLOURS, shown_without)


def test_speed(broker: BrokerTool, uid: str) -> None:
    argv = command("trio-p2p", "speed", uid, "--seconds=0.05", "--no-relay")
    with answering(broker, uid):
        code, shown = run_in_terminal(*argv, broker=broker.address)
    assert code == 0
    header, *rows = lines_of_screen(shown)
    assert header == "direction         speed  path"
    for row, name in zip(rows, ["download", "upload"], strict=True):
        assert re.fullmatch(
            rf"{name:9}  +\d+\.\d\d MB/s  direct \(fast\), to 127\.0\.0\.1:\d+", row
        )


# Transfers.


def transfer(
    broker: BrokerTool, uid: str, folder: Path, *options: str, answer: bytes = b"y\n"
) -> tuple[bytes, bytes]:
    """Send files with markup in their names; what the receiver shows until it asks, and in all."""
    source, target = folder / "source", folder / "target"
    source.mkdir()
    target.mkdir()
    for number in range(30):
        (source / f"[bold]{number:02}[blink] :smile:").write_bytes(b"x" * 2000)
    with (
        open_terminal() as (screen, streams),
        send(broker, uid, source) as sender,
        receive(
            broker, uid, "--into", target, *options, stdin=streams, stdout=streams, stderr=streams
        ) as receiver,
    ):
        streams.close()
        asking = read_until(screen, b"Take them? [y/N] ")
        screen.write(answer)
        shown = asking + read_all(screen)
        assert sender.end()[0] == receiver.process.wait(SECONDS) == 0
    assert len(list((target / "source").iterdir())) == 30
    return asking, shown


def test_offer_and_progress_by_rich(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    asking, shown = transfer(broker, uid, tmp_path)
    offer = lines_of_screen(asking)
    assert offer[0] == f"trio-p2p: {peer_id()} offers"
    assert offer[1] == "trio-p2p: 30 files, 58.6 KiB:"
    assert offer[2] == "trio-p2p:     2.0 KiB  source/[bold]00[blink] :smile:"
    assert offer[-1] == "Take them? [y/N]"
    assert len(offer) < LINES
    *_, progress, received = lines_of_screen(shown)
    assert re.fullmatch(
        r"━+ 100 %  58\.6 KiB of 58\.6 KiB  30/30  (direct|relay|looking for a path)", progress
    )
    assert received == "trio-p2p: received 30 files, 58.6 KiB; their checksums are right"
    assert re.search(COLOURS, shown)


def test_progress_in_a_dumb_terminal(
    broker: BrokerTool, uid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    _, shown = transfer(broker, uid, tmp_path)
    assert b"\x1b" not in shown
    assert re.search(rb"\r100 %, 58\.6 KiB of 58\.6 KiB, file 30 of 30, \w+ [ \w]*\r\n", shown)


def test_no_progress_if_quiet(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    asking, shown = transfer(broker, uid, tmp_path, "--quiet")
    assert b"[bold]00[blink] :smile:" in asking  # what there is to decide on
    assert shown == asking + b"y\r\n"


# What is said when a command is ready.


def test_ready_without_a_terminal(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, quiet=False) as receiver, connect(broker, uid, quiet=False) as sender:
        (_, _, of_receiver), (_, _, of_sender) = end_both(receiver, sender, b"x", b"y")
    me = peer_id()
    assert of_receiver.splitlines() == [
        f"trio-p2p: waiting for a peer as {uid!r}; we are {me}",
        f"trio-p2p: connected to {me}",
    ]
    way = rf"(direct \(fast\), to 127\.0\.0\.1:\d+|relay, by {broker.address})"
    assert re.fullmatch(rf"trio-p2p: connected to {me}; the path is {way}\n", of_sender)


def test_ready_in_a_terminal(broker: BrokerTool, uid: str) -> None:
    with (
        listen(broker, uid) as receiver,
        open_terminal() as (screen, streams),
        connect(broker, uid, "--only=relay", quiet=False, stderr=streams) as sender,
    ):
        shown = read_until(screen, f"relay, by {broker.address}\r\n".encode())
        end_both(receiver, sender, b"x", b"y")
    assert lines_of_screen(shown) == [
        f"trio-p2p: connected to {peer_id()}; the path is",
        f"  relay, by {broker.address}",
    ]


def test_a_raw_connection_is_ready(broker: BrokerTool, uid: str) -> None:
    with (
        listen(broker, uid, "--raw") as receiver,
        connect(broker, uid, "--raw", quiet=False) as sender,
    ):
        _, (code, _, errors) = end_both(receiver, sender, b"x", b"y")
    assert code == 0
    path = r"direct \(\w+\), to 127\.0\.0\.1:\d+"
    assert re.fullmatch(rf"trio-p2p: connected, without encryption; the path is {path}\n", errors)


@pytest.mark.parametrize(
    ("arguments", "other"),
    [
        (["send", __file__], "receive"),
        (["listen", "--code"], "connect"),
        (["expose", "--code", "80"], "forward PORT"),
    ],
)
def test_quiet_hides_no_code(broker: BrokerTool, arguments: list[str], other: str) -> None:
    with Tool(*command("trio-p2p", *arguments, "--quiet"), broker=broker.address) as tool:
        line = tool.errors.readline().decode()
        code, output, errors = tool.signal(signal.SIGTERM)
    said = rf"trio-p2p: on the other side run: trio-p2p {other} \d{{5}}(-[a-z]+){{3}}\n"
    assert re.fullmatch(said, line)
    assert (code, output, errors) == (143, b"", "")


def test_quiet_hides_what_the_user_knows(broker: BrokerTool, uid: str) -> None:
    with send(broker, uid, __file__, "--quiet") as tool:
        assert tool.signal(signal.SIGTERM) == (143, b"", "")


# What a terminal would obey.

OBEYED = """
import logging, signal, sys
from trio_p2p._commands.run import CommandError, log_for_user, run_command, tell_user

async def main():
    tell_user("one \\x1b[2J")
    logging.getLogger("trio_p2p.x").warning("two %s", "\\x1b]0;title\\x07")
    raise CommandError("three \\r\\x9b")

sys.argv = ["trio-p2p"]
run_command(main, lambda: log_for_user(verbose=False), [signal.SIGTERM])
"""


def test_lines_have_nothing_that_a_terminal_obeys() -> None:
    with Tool(sys.executable, "-c", OBEYED) as tool:
        _, _, errors = tool.end()
    assert errors.splitlines() == [
        "trio-p2p: one �[2J",
        "trio-p2p: two �]0;title�",
        "trio-p2p: three ��",
    ]


LAZY = """
import sys
from trio_p2p._commands.main import main
try:
    main(["--help"])
except SystemExit:
    pass
assert main(["peers"]) == 0
assert not [name for name in sys.modules if name.partition(".")[0] in ("rich", "pygments")]
"""


@pytest.mark.usefixtures("known")
def test_rich_is_not_loaded_without_a_terminal() -> None:
    with Tool(sys.executable, "-c", LAZY) as tool:
        code, _, errors = tool.end()
    assert (code, errors) == (0, "")
