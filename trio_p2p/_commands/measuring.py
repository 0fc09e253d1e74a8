"""What ``trio-p2p ping`` and ``trio-p2p speed`` share: a peer that answers, a table, a report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from .._stream.p2p_stream import P2PStream
from .._stream.stream_path import StreamPath
from .._wire.uids import parse_uid
from .arguments import checked_by
from .layout import Column, tone_of
from .layouts import layout_for
from .named_receiver import receiver_named
from .peer_options import open_peer_as_told
from .seen_path import FailedAttempts, described
from .standard_streams import require_standard_streams, write_line
from .trusted_receiver import TrustedReceiver


def add_measuring_options(parser: argparse.ArgumentParser) -> None:
    """Add what both commands take."""
    parser.add_argument(
        "uid",
        metavar="UID",
        type=checked_by(parse_uid),
        help="the UID that the peer answers under, or its code",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, at the end, for programs")
    parser.set_defaults(raw=False)


class Measuring:
    """Opens streams to a peer that answers, and shows what was measured on them.

    Args:
        options: of the command line.
        receiver: the peer.
        failed: notes why there is no direct path.
        columns: those of the table; the last one is of paths.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        receiver: TrustedReceiver,
        failed: FailedAttempts,
        columns: Sequence[Column],
    ) -> None:
        self._options = options
        self._receiver = receiver
        self._failed = failed
        self._columns = columns
        self._layout = layout_for(sys.stdout)
        self._is_begun = False

    async def open_stream(self, protocol: str) -> P2PStream:
        """Open a stream to what answers a protocol; see :meth:`TrustedReceiver.open_stream`."""
        return await self._receiver.open_stream(protocol=protocol, wait=self._options.wait)

    async def show(self, *cells: str, path: StreamPath | None) -> None:
        """Show a row of the table, unless the user wants JSON.

        Args:
            cells: what stands in it in front of the path.
            path: the path.

        Raises:
            CommandError: standard output cannot be written.
        """
        if not self._is_begun:
            self._is_begun = True
            await self.say(*self._layout.header(self._columns))
        row = (*cells, described(path))
        await self.say(self._layout.row(self._columns, row, tone_of(path)))

    async def say(self, *lines: str) -> None:
        """Print lines, unless the user wants JSON.

        Raises:
            CommandError: standard output cannot be written.
        """
        if not self._options.json:
            for line in lines:
                await write_line(line)

    async def conclude(self, path: StreamPath | None, results: dict[str, Any]) -> None:
        """Print why the path is that of the relay, if it is; or all results as JSON.

        Args:
            path: the path at the end.
            results: for programs.

        Raises:
            CommandError: standard output cannot be written.
        """
        if self._options.json:
            failed_attempts = self._failed.as_json()
            report = {"uid": self._options.uid, **results, "failed_attempts": failed_attempts}
            await write_line(json.dumps(report, indent=2))
        await self.say(*self._failed.explain(path))


@asynccontextmanager
async def open_measuring(
    options: argparse.Namespace, columns: Sequence[Column]
) -> AsyncGenerator[Measuring]:
    """A peer of our own, and the one that the user has named.

    Use as an async context manager.

    Raises:
        CommandError: what is remembered of the peer cannot be read, and the like.
        P2PError: as :func:`open_peer_as_told`.
    """
    require_standard_streams()
    failed = FailedAttempts()
    async with open_peer_as_told(options, tracer=failed) as peer:
        receiver = await receiver_named(peer, options.uid, options)
        yield Measuring(options, receiver, failed, columns)
