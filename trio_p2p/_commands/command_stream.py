"""A command whose standard input and output are a stream: what ``listen --exec`` runs."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import trio

from .._errors import LocalProtocolError, shown
from .._stream.p2p_stream import P2PStream
from .cut import cause_of, wait_closed_by_peer
from .run import CommandError
from .standard_streams import CHUNK_BYTES

E = TypeVar("E", bound=Exception)

TERMINATION_TIME = 5.0  # seconds that a command gets to end by itself, as trio.run_process has it
PEER_VARIABLE = "TRIO_P2P_PEER"


def parse_command(text: str) -> list[str]:
    """The words of a command, as a shell would split them; no shell runs it.

    Raises:
        LocalProtocolError: there are none, or the first one is no program.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise LocalProtocolError(f"{shown(text)} is no command: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise LocalProtocolError(
            f"{shown(text)} is no command: its first word has to be a program; for a line of the "
            "shell give \"sh -c '…'\""
        )
    return words


async def run_on_stream(argv: Sequence[str], stream: P2PStream) -> None:
    """Run a command until it has ended, and its output, too; then close the stream.

    Its environment names the peer. If the stream breaks, the peer reads no more of what the command
    writes, or this is cancelled, the command is terminated, with all processes of its group.

    Args:
        argv: the program, and its arguments.
        stream: what it reads and writes.

    Raises:
        CommandError: the command failed, or the stream broke. If output may have been cut short,
            the stream was aborted.
    """
    failure: str | None = None
    try:
        async with stream:
            code = await _run(argv, stream)
            if code < 0:
                failure = f"was killed by {signal.Signals(-code).name}"
                stream.abort(f"the command {failure}")
            elif code:
                failure = f"has ended with exit status {code}"
    except* trio.BrokenResourceError as group:
        failure = f"was ended: {cause_of(_first_of(group))}"
    except* OSError as group:
        failure = f"cannot be run: {_first_of(group)}"
    if failure is not None:
        raise CommandError(f"{argv[0]} {failure}")


def _first_of(group: BaseExceptionGroup[E]) -> E:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _run(argv: Sequence[str], stream: P2PStream) -> int:
    """Run a command; its exit status, or less than 0 if a signal has killed it."""
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                check=False,
                env={**os.environ, PEER_VARIABLE: str(stream.peer_id)},
                start_new_session=True,
                deliver_cancel=_terminate,
            )
        )
        assert isinstance(process.stdin, trio.lowlevel.FdStream)
        assert process.stdout is not None
        nursery.start_soon(wait_closed_by_peer, stream)
        nursery.start_soon(_feed, stream, process.stdin)
        async with process.stdout as output:
            try:
                while data := await output.receive_some(CHUNK_BYTES):
                    await stream.send_all(data)
            except BaseException:
                if process.returncode is not None:  # what it has left behind has its output
                    _signal_group(process, signal.SIGTERM)
                raise
        if _may_read_on(process.stdin):
            await stream.send_eof()
        code = await process.wait()
        nursery.cancel_scope.cancel(reason="the command has ended")
    return code


def _may_read_on(standard_input: trio.lowlevel.FdStream) -> bool:
    """Whether a command that writes no more may read what has not been said yet.

    If not, it is about to end, and whether that is a good end is for its exit status to say.
    """
    if standard_input.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(standard_input.fileno(), 0)  # errors are told of: that no process reads
    return not poll.poll(0)


async def _feed(stream: P2PStream, standard_input: trio.abc.SendStream) -> None:
    """Give the command what comes, until it reads no more."""
    async with standard_input:
        while data := await stream.receive_some(CHUNK_BYTES):
            try:
                await standard_input.send_all(data)
            except trio.BrokenResourceError:
                break


async def _terminate(process: trio.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal_group(process, number)
        await trio.sleep(TERMINATION_TIME)


def _signal_group(process: trio.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
