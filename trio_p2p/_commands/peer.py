"""``trio-p2p listen`` and ``trio-p2p connect``: one peer, joined with the standard streams."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack

import trio

from .._attempt import Technique
from .._errors import WrongPeerError
from .._highlevel import open_p2p_stream
from .._identity.peer_id import PeerId
from .._listen.listener import open_p2p_listener
from .._options import parse_broker
from .._stream.carrier import DEFAULT_GRACE
from .bridge import bridge_standard_streams
from .identity_file import load_or_create_identity
from .known_peers import KnownPeers
from .report import Report
from .run import CommandError
from .standard_streams import require_standard_streams


async def listen(options: argparse.Namespace) -> None:
    """Wait for one peer, and talk to it.

    A session stays registered as long as it lasts, because its peer finds another path to it that
    way; a raw connection has no use for that.
    """
    require_standard_streams()
    _refuse_without_sessions(options, "grace")
    broker, techniques = _broker(options), _techniques(options)
    identity = load_or_create_identity(options.identity)
    if options.raw:
        async with open_p2p_listener(
            options.uid, broker, identity=identity, raw=True, techniques=techniques
        ) as raw_listener:
            _say(options, f"waiting for a peer as {options.uid!r}, without encryption")
            raw_stream = await raw_listener.accept()
        async with raw_stream:
            await bridge_standard_streams(raw_stream)
        return
    async with open_p2p_listener(
        options.uid,
        broker,
        identity=identity,
        admit=_admit_one(),
        techniques=techniques,
        grace=_grace(options),
    ) as listener:
        _say(options, f"waiting for a peer as {options.uid!r}; we are {listener.peer_id}")
        stream = await listener.accept()
        _say(options, f"connected to {stream.peer_id}")
        await bridge_standard_streams(stream)


async def connect(options: argparse.Namespace) -> None:
    """Connect to a peer that listens, talk to it, and report."""
    require_standard_streams()
    report = Report(options.report)
    try:
        _refuse_without_sessions(options, "identity", "expect", "grace")
        await (_connect_raw if options.raw else _connect)(options, report)
    finally:
        report.write()


async def _connect(options: argparse.Namespace, report: Report) -> None:
    broker, techniques = _broker(options), _techniques(options)
    identity = load_or_create_identity(options.identity)
    known_peers = None if options.expect is not None else KnownPeers()
    known = None if known_peers is None else known_peers.lookup(broker, options.uid)
    async with AsyncExitStack() as stack:
        try:
            stream = await stack.enter_async_context(
                open_p2p_stream(
                    options.uid,
                    broker,
                    identity=identity,
                    expect=options.expect or known,
                    techniques=techniques,
                    grace=_grace(options),
                    on_attempt=report.attempts.append,
                )
            )
        except WrongPeerError as error:
            if known_peers is None or known is None:
                raise
            raise known_peers.changed_peer_error(
                broker, options.uid, known=known, found=error.found
            ) from error
        report.note_opened(stream)
        if known_peers is not None:
            known_peers.remember(broker, options.uid, stream.peer_id)
        _say(options, f"connected to {stream.peer_id}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(report.watch, stream)
            await bridge_standard_streams(stream)
            nursery.cancel_scope.cancel(reason="the stream is closed")
        report.note_closed()


async def _connect_raw(options: argparse.Namespace, report: Report) -> None:
    async with open_p2p_stream(
        options.uid,
        _broker(options),
        raw=True,
        techniques=_techniques(options),
        on_attempt=report.attempts.append,
    ) as stream:
        report.note_opened_raw()
        await bridge_standard_streams(stream)


def _admit_one() -> Callable[[PeerId], bool]:
    """What admits the first stream, whoever opens it, and no other."""
    is_free = True

    def admit(_peer_id: PeerId) -> bool:
        nonlocal is_free
        was_free, is_free = is_free, False
        return was_free

    return admit


def _refuse_without_sessions(options: argparse.Namespace, *names: str) -> None:
    """Refuse options that only sessions have a use for."""
    for name in names:
        if options.raw and getattr(options, name) is not None:
            raise CommandError(
                f"a raw connection proves nobody's identity, and does not outlive its path: "
                f"leave --{name} out, or --raw"
            )


def _techniques(options: argparse.Namespace) -> list[str]:
    techniques: list[str] = options.only or list(Technique)
    if options.raw or options.no_relay:
        techniques = [technique for technique in techniques if technique != Technique.RELAY]
    if not techniques:
        option = "--raw" if options.raw else "--no-relay"
        raise CommandError(
            f"{option} and --only {Technique.RELAY} leave no way to a peer: leave one of them out"
        )
    return techniques


def _grace(options: argparse.Namespace) -> float:
    return DEFAULT_GRACE if options.grace is None else options.grace


def _broker(options: argparse.Namespace) -> tuple[str, int]:
    if options.broker is None:
        raise CommandError(
            "where is the broker? Say --broker HOST:PORT, or set TRIO_P2P_BROKER to HOST:PORT"
        )
    return parse_broker(options.broker)


def _say(options: argparse.Namespace, text: str) -> None:
    """Tell who watches."""
    if options.verbose or sys.stderr.isatty():
        print(f"trio-p2p: {text}", file=sys.stderr)
