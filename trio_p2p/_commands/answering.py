"""What answers ``trio-p2p ping`` and ``trio-p2p speed`` at the other side.

Each is a protocol of its own, so that no byte of a peer has to be parsed: what comes is sent back,
counted, or ignored.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import trio

from .._errors import UnknownProtocolError
from .._listen.service import Admit
from .._peer.peer import Peer
from .._stream.p2p_stream import P2PStream
from .._wire.uids import parse_uid
from .arguments import checked_by
from .cut import broken_explained
from .peer_options import admitted_by, open_peer_as_told
from .run import CommandError, tell_user

PROTOCOLS_OF_TOOLS = "trio-p2p/"  # how their names begin
ECHO, SINK, SOURCE = (f"{PROTOCOLS_OF_TOOLS}{name}" for name in ("echo", "sink", "source"))
ECHO_BYTES = 1024  # that are sent back at once
COUNT_BYTES = 8  # of the number that a sink answers with
PIECE_BYTES = 262_144

# Seconds.
MAX_SILENCE = 60.0  # of a peer that is sent echoes
MAX_SPEED_TIME = 60.0  # that one direction is measured for


def add_answer_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Answers `trio-p2p ping` and `trio-p2p speed` of other peers until it is interrupted. One "
        "speed is measured at a time, for a minute at most."
    )
    parser.add_argument(
        "uid", metavar="UID", type=checked_by(parse_uid), help="what the two peers agreed on"
    )
    parser.set_defaults(raw=False)


async def answer(options: argparse.Namespace) -> None:
    """Answer until cancelled."""
    admit = admitted_by(options)
    async with open_peer_as_told(options) as peer, trio.open_nursery() as nursery:
        await nursery.start(serve_answers, peer, options.uid, admit)
        whom = "the peers that you admit" if admit else "every peer that knows the UID"
        tell_user(f"answering {whom} as {options.uid!r}; we are {peer.peer_id}")


async def serve_answers(
    peer: Peer,
    uid: str,
    admit: Admit | None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer under a UID until cancelled.

    Args:
        peer: what listens.
        uid: the UID, which may have listeners for other protocols.
        admit: says of a peer id whether to answer it.
        task_status: started when the UID is registered.

    Raises:
        P2PError: as :meth:`Peer.serve`.
    """
    answers = _Answers()
    handlers = {ECHO: answers.echo, SINK: answers.sink, SOURCE: answers.source}
    async with trio.open_nursery() as nursery:
        for protocol, handler in handlers.items():
            await nursery.start(partial(peer.serve, uid, handler, protocol=protocol, admit=admit))
        task_status.started()


@contextmanager
def unanswered_explained() -> Generator[None]:
    """Say to the user why a stream to a peer that should answer broke.

    Raises:
        CommandError: it broke in the block.
    """
    with broken_explained():
        try:
            yield
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, UnknownProtocolError):
                raise CommandError(
                    "the peer is there, but does not answer: run `trio-p2p answer` with this UID "
                    "on its side"
                ) from error
            raise


class _Answers:
    """The handlers of the three protocols."""

    def __init__(self) -> None:
        self._is_measuring = False

    async def echo(self, stream: P2PStream) -> None:
        """Send back what comes."""
        while True:
            with trio.move_on_after(MAX_SILENCE) as silence:
                data = await stream.receive_some(ECHO_BYTES)
                if not data:
                    return
                await stream.send_all(data)
            if silence.cancelled_caught:
                stream.abort(f"nothing came for {MAX_SILENCE:g} seconds")
                return

    async def sink(self, stream: P2PStream) -> None:
        """Count the bytes that come, and say how many they were."""
        with self._alone(stream) as is_alone:
            if is_alone:
                count = 0
                async for data in stream:
                    count += len(data)
                await stream.send_all(count.to_bytes(COUNT_BYTES, "big"))

    async def source(self, stream: P2PStream) -> None:
        """Send until the peer reads no more."""
        with self._alone(stream) as is_alone:
            while is_alone:
                await stream.send_all(bytes(PIECE_BYTES))

    @contextmanager
    def _alone(self, stream: P2PStream) -> Generator[bool]:
        """Measure one speed at a time, and not for ever; others are refused."""
        if self._is_measuring:
            stream.abort("another speed is being measured: try again in a minute")
            yield False
            return
        self._is_measuring = True
        try:
            with trio.move_on_after(MAX_SPEED_TIME) as limit:
                yield True
        finally:
            self._is_measuring = False
        if limit.cancelled_caught:
            stream.abort(f"a speed is measured for {MAX_SPEED_TIME:g} seconds at most")
