"""``trio-p2p chat``: two people write to each other, line by line."""

from __future__ import annotations

import argparse
import codecs
import getpass
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import trio

from .._errors import LocalProtocolError, shown
from .._net.nursery import open_background_nursery
from .._stream.p2p_stream import P2PStream
from .._wire.uids import parse_uid
from .answering import PROTOCOLS_OF_TOOLS
from .arguments import checked_by
from .cut import broken_explained
from .peer_options import admitted_by, brokers_of, open_peer_as_told
from .run import UsageError, tell_user
from .standard_streams import read_standard_input, require_standard_streams, write_line
from .terminal import harmless
from .trusted_receiver import TrustedReceiver

CHAT = f"{PROTOCOLS_OF_TOOLS}chat"
MAX_NAME_CHARACTERS = 32
MAX_LINE_CHARACTERS = 4096  # what is longer comes as several lines
CHUNK_BYTES = 4096


def add_chat_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Writes to one peer, line by line. One side gives --listen. Ctrl-D ends it."
    )
    parser.add_argument(
        "uid", metavar="UID", type=checked_by(parse_uid), help="what the two peers agreed on"
    )
    parser.add_argument("--listen", action="store_true", help="wait for the peer")
    parser.add_argument(
        "--name",
        metavar="NAME",
        type=checked_by(_parse_name),
        help="what the peer calls you (default: your account's name)",
    )
    parser.set_defaults(raw=False)


def _parse_name(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > MAX_NAME_CHARACTERS:
        raise LocalProtocolError(
            f"{shown(text)} is no name: give up to {MAX_NAME_CHARACTERS} characters that can be "
            "printed"
        )
    return text


async def chat(options: argparse.Namespace) -> None:
    """Chat with one peer."""
    require_standard_streams()
    name = options.name or _account_name()
    async with _open_stream(options) as stream:
        with broken_explained():
            await stream.send_all(f"{name}\n".encode())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_lines, stream)
            await _show_lines(stream)
            nursery.cancel_scope.cancel(reason="the peer has left")
        with suppress(trio.BrokenResourceError):  # it does not wait for what came too late
            await stream.aclose()


@asynccontextmanager
async def _open_stream(options: argparse.Namespace) -> AsyncGenerator[P2PStream]:
    """The stream to the peer, which is closed at the end."""
    if options.listen and options.expect is not None:
        raise UsageError("who waits admits: say --admit instead of --expect, or leave --listen out")
    if not options.listen and options.admit is not None:
        raise UsageError("who connects expects: say --expect instead of --admit, or --listen")
    admit = admitted_by(options)
    async with open_peer_as_told(options) as peer:
        if not options.listen:
            broker = brokers_of(options)[0].address
            receiver = TrustedReceiver(peer, broker, options.uid, options.expect)
            async with await receiver.open_stream(protocol=CHAT, wait=options.wait) as stream:
                yield stream
            return
        async with peer.listen(options.uid, protocol=CHAT, admit=admit) as listener:
            tell_user(f"waiting for a peer as {options.uid!r}; we are {peer.peer_id}")
            async with await listener.accept() as stream, open_background_nursery() as nursery:
                nursery.start_soon(listener.drain)  # there is no place for another one
                yield stream


async def _send_lines(stream: P2PStream) -> None:
    while data := await read_standard_input():
        with broken_explained():
            await stream.send_all(data)
    with broken_explained():
        await stream.send_eof()


async def _show_lines(stream: P2PStream) -> None:
    """Show what the peer writes, until it leaves."""
    name: str | None = None
    lines = UntrustedLines()
    while True:
        with broken_explained():
            data = await stream.receive_some(CHUNK_BYTES)
        for line in lines.feed(data) if data else lines.end():
            if name is None:
                name = line[:MAX_NAME_CHARACTERS].strip() or "the peer"
                tell_user(f"talking to {name}, who is {stream.peer_id}")
            else:
                await write_line(f"{name}: {line}")
        if not data:
            tell_user(f"{name or 'the peer'} has left")
            return


class UntrustedLines:
    """Lines of text, out of bytes of any content: what a terminal would obey is shown as a sign."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes | bytearray) -> list[str]:
        """The lines that end in some bytes, and those that are too long to wait for their ends."""
        return self._split(self._rest + self._decoder.decode(data))

    def end(self) -> list[str]:
        """What came behind the last line."""
        lines = self._split(self._rest + self._decoder.decode(b"", final=True))
        return [*lines, _as_line(self._rest)] if self._rest else lines

    def _split(self, text: str) -> list[str]:
        *lines, rest = text.split("\n")
        while len(rest) > MAX_LINE_CHARACTERS:
            lines.append(rest[:MAX_LINE_CHARACTERS])
            rest = rest[MAX_LINE_CHARACTERS:]
        self._rest = rest
        return [_as_line(line) for line in lines]


def _as_line(line: str) -> str:
    return harmless(line.removesuffix("\r").replace("\t", "    "))


def _account_name() -> str:
    try:
        return getpass.getuser()[:MAX_NAME_CHARACTERS]
    except (KeyError, OSError):  # a user without an account
        return "anonymous"
