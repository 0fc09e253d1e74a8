"""``trio-p2p listen --keep``: many peers, one after another or at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from .._net.log_limit import RepeatedLine
from .._stream.p2p_stream import P2PStream
from .command_stream import run_on_stream
from .cut import cause_of
from .run import CommandError
from .standard_streams import CHUNK_BYTES, write_standard_output

logger = logging.getLogger("trio_p2p.listen")

MAX_COMMANDS = 100  # at once, as ncat has it
MAX_LINE_BYTES = 65_536  # that wait for the end of their line


class LinesOfPeers:
    """Writes what peers say to standard output, so that their lines are not mixed.

    Each line is written when it is complete, a longer one than ``MAX_LINE_BYTES`` in pieces. What
    one peer has not ended is ended before another one's is written.
    """

    def __init__(self) -> None:
        self._in_line: P2PStream | None = None  # whose line has not come to its end
        self._writing = trio.Lock()
        self._failures = RepeatedLine(logger, logging.WARNING)

    async def handle(self, stream: P2PStream) -> None:
        """Write what comes on a stream, to which nothing is said.

        Raises:
            CommandError: standard output cannot be written.
        """
        waiting = bytearray()
        try:
            await stream.send_eof()
            while data := await stream.receive_some(CHUNK_BYTES):
                waiting += data
                end = waiting.rfind(b"\n") + 1
                if len(waiting) - end > MAX_LINE_BYTES:
                    end = len(waiting)
                await self._write(stream, waiting[:end])
                del waiting[:end]
        except trio.BrokenResourceError as error:
            now = trio.current_time()
            text = "what %s sent was cut short: %s"
            self._failures.say(now, text, stream.peer_id, cause_of(error))
        await self._write(stream, waiting)

    async def _write(self, stream: P2PStream, data: bytearray) -> None:
        if not data:
            return
        async with self._writing:
            ending = b"" if self._in_line in (None, stream) else b"\n"
            self._in_line = None if data.endswith(b"\n") else stream
            await write_standard_output(ending + data)


class CommandForEach:
    """Runs a command for each stream.

    Args:
        argv: the program, and its arguments.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self._running = 0
        self._failures = RepeatedLine(logger, logging.WARNING)

    async def handle(self, stream: P2PStream) -> None:
        """Run the command until it ends."""
        if self._running == MAX_COMMANDS:
            reason = f"{MAX_COMMANDS} commands are running already"
            stream.abort(reason)
            self._failed(stream, reason)
            return
        self._running += 1
        try:
            await run_on_stream(self._argv, stream)
        except CommandError as error:
            self._failed(stream, error)
        finally:
            self._running -= 1

    def _failed(self, stream: P2PStream, reason: object) -> None:
        now = trio.current_time()
        self._failures.say(now, "for %s: %s", stream.peer_id, reason)
