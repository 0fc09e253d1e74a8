"""Tickets: what they hold, and that they stand wherever a UID is asked for."""

import base64
import sys
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given, strategies as st

from trio_p2p import LocalProtocolError, PeerId
from trio_p2p._broker_client.place import parse_brokers
from trio_p2p._commands import main as main_command, ticket as ticket_module
from trio_p2p._commands.ticket import Ticket, looks_like_ticket, parse_uid_or_ticket

from ..kit.commands import (
    NOBODY,
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    end_both,
    listen,
    peer_id,
    run_main,
)

PEER_ID = PeerId(bytes(range(23)))
PINNED = "tls://broker.example.org:4433#sha256=" + "ab" * 32


def ticket_of(brokers: str = "broker.example.org:4433", uid: str = str(PEER_ID)) -> Ticket:
    return Ticket(parse_brokers(brokers), PEER_ID, uid)


def forged(*fields: object) -> str:
    """A ticket of anything, with the right checksum."""
    packed = msgpack.packb(fields)
    data = packed + ticket_module._checksum(packed)
    return "p2pticket" + base64.b32encode(data).decode().rstrip("=").lower()


@pytest.mark.parametrize(
    "ticket",
    [
        ticket_of(),
        ticket_of(uid="über-files"),
        ticket_of("tls://b.example.org:1"),
        ticket_of(f"{PINNED},192.0.2.1:4433,[2001:db8::1]:4433"),
        ticket_of(uid="u" * 128),
    ],
    ids=str,
)
def test_there_and_back(ticket: Ticket) -> None:
    text = str(ticket)
    assert Ticket.parse(text) == Ticket.parse(text.upper()) == ticket
    assert parse_uid_or_ticket(text.upper()) == text
    assert looks_like_ticket(text)


def test_every_typo_is_found() -> None:
    text = str(ticket_of())
    for position in range(len("p2pticket"), len(text)):
        typo = "a" if text[position] != "a" else "b"
        with pytest.raises(LocalProtocolError, match=r"copy all of it again|of another version"):
            Ticket.parse(text[:position] + typo + text[position + 1 :])
    for length in range(len("p2pticket") + 1, len(text)):
        with pytest.raises(LocalProtocolError, match="copy all of it again"):
            Ticket.parse(text[:length])


@pytest.mark.parametrize(
    "text", ["", "p2pticket", "p2pticket1", "ticket", "p2pticket" + "a" * 2000]
)
def test_what_is_no_ticket(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="is no ticket, which is 'p2pticket' and more"):
        Ticket.parse(text)


BROKER = "192.0.2.1:1"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [2, bytes(23), [BROKER], None],
        [1, bytes(23), [BROKER]],
        [1, "x" * 23, [BROKER], None],
        [1, bytes(22), [BROKER], None],
        [1, bytes(23), [], None],
        [1, bytes(23), [1], None],
        [1, bytes(23), ["nowhere"], None],
        [1, bytes(23), ["\x1b[2J:1"], None],
        [1, bytes(23), [BROKER] * 9, None],
        [1, bytes(23), [BROKER], ""],
        [1, bytes(23), [BROKER], "\n"],
        [1, bytes(23), [BROKER], 7],
        [1, bytes(23), {BROKER: 1}, None],
        [1, bytes(23), "x", None],
    ],
    ids=str,
)
def test_tickets_that_were_made_up(fields: list[object]) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Ticket.parse(forged(*fields))
    assert str(caught.value).isprintable()


@given(st.binary(max_size=100))
def test_any_content(packed: bytes) -> None:
    data = packed + ticket_module._checksum(packed)
    text = "p2pticket" + base64.b32encode(data).decode().rstrip("=").lower()
    with suppress(LocalProtocolError):
        Ticket.parse(text)


@pytest.mark.once
def test_a_ticket_is_all_that_the_other_side_needs(broker: BrokerTool, uid: str) -> None:
    with Tool(*command("trio-p2p", "ticket", uid), broker=broker.address) as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    ticket = output.decode().strip()
    assert Ticket.parse(ticket) == Ticket(
        parse_brokers(broker.address), PeerId.parse(peer_id()), uid
    )
    with (
        listen(broker, uid, f"--admit={ticket}") as receiver,
        Tool(*command("trio-p2p", "connect", "-q", ticket), broker=NOBODY) as sender,
    ):
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]


@pytest.mark.once
def test_another_peer_than_the_ticket_says(broker: BrokerTool, uid: str) -> None:
    ticket = str(Ticket(parse_brokers(broker.address), PEER_ID, uid))
    with (
        listen(broker, uid),
        Tool(*command("trio-p2p", "connect", "-q", ticket), broker=NOBODY) as sender,
    ):
        code, _, errors = sender.end()
    assert code == 1
    assert_sentence(
        errors, f"the broker introduced another peer than the expected one: expected {PEER_ID}"
    )


@pytest.mark.once
def test_a_ticket_with_a_typo(capsys: pytest.CaptureFixture[str]) -> None:
    ticket = str(ticket_of())[:-1]
    code, errors = run_main(main_command.main, ["receive", ticket, "--yes"], capsys)
    assert code == 2
    assert "copy all of it again" in errors


@pytest.mark.once
def test_a_picture_of_it() -> None:
    argv = command("trio-p2p", "ticket", "--qr", "--broker", "broker.example.org:4433")
    with Tool(*argv) as tool:
        code, output, _ = tool.end()
    assert code == 0
    *picture, ticket = output.decode().splitlines()
    assert Ticket.parse(ticket).uid == peer_id()
    assert len(picture) <= 22
    assert {len(line) for line in picture} <= set(range(30, 60))
    assert {character for line in picture for character in line} <= set(" █▀▄")


@pytest.mark.once
def test_a_picture_without_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    code, errors = run_main(main_command.main, ["ticket", "--qr", "--broker", NOBODY], capsys)
    assert code == 1
    assert "QR codes need the package segno: install trio-p2p[tools], or leave --qr out" in errors


@pytest.mark.once
def test_a_picture_where_none_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with Tool(*command("trio-p2p", "ticket", "--qr", "--broker", NOBODY)) as tool:
        code, _, errors = tool.end()
    assert code == 1
    assert_sentence(errors, "standard output is in ascii, and cannot show a QR code: set LANG to ")


@pytest.mark.once
def test_a_ticket_of_no_broker(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIO_P2P_BROKER", raising=False)
    code, errors = run_main(main_command.main, ["ticket"], capsys)
    assert code == 2
    assert "where is the broker?" in errors
