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
from .._identity.peer_id import PeerId, looks_like_peer_id
from .._listen.listener import open_p2p_listener
from .._stream.carrier import DEFAULT_GRACE
from .bridge import bridge_standard_streams
from .identity_file import load_or_create_identity
from .known_peers import KnownPeers
from .report import Report
from .run import UsageError
from .standard_streams import require_standard_streams


async def listen(options: argparse.Namespace) -> None:
    """Wait for one peer, and talk to it.

    A session stays registered as long as it lasts, because its peer finds another path to it that
    way; a raw connection has no use for that.
    """
    require_standard_streams()
    _refuse_without_sessions(options, "grace", "admit")
    broker, techniques = _broker(options), _techniques(options)
    admitted = _admitted(options, broker)
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
        admit=_admit_one(admitted),
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


def _admitted(options: argparse.Namespace, broker: tuple[str, int]) -> frozenset[PeerId] | None:
    """The peers that the user wants to admit, or None for all."""
    if options.admit is None:
        return None
    return frozenset(_peer_called(name, broker) for name in options.admit)


def _peer_called(name: str, broker: tuple[str, int]) -> PeerId:
    """The peer with this peer id, or the one that has answered to this UID."""
    if looks_like_peer_id(name):
        return PeerId.parse(name)
    peer_id = KnownPeers().lookup(broker, name)
    if peer_id is None:
        raise UsageError(
            f"{name!r} is no peer to admit: give a peer id, as `trio-p2p id` prints it there, or a "
            f"UID at {broker[0]}:{broker[1]} that you have connected to"
        )
    return peer_id


def _admit_one(admitted: frozenset[PeerId] | None) -> Callable[[PeerId], bool]:
    """What admits the first stream that one of these peers opens, and no other."""
    is_free = True

    def admit(peer_id: PeerId) -> bool:
        nonlocal is_free
        is_admitted = is_free and (admitted is None or peer_id in admitted)
        is_free = is_free and not is_admitted
        return is_admitted

    return admit


def _refuse_without_sessions(options: argparse.Namespace, *names: str) -> None:
    """Refuse options that only sessions have a use for."""
    for name in names:
        if options.raw and getattr(options, name) is not None:
            raise UsageError(
                f"a raw connection proves no identity, and does not outlive its path: "
                f"leave --{name} out, or --raw"
            )


def _techniques(options: argparse.Namespace) -> list[str]:
    techniques: list[str] = options.only or list(Technique)
    if options.raw or options.no_relay:
        techniques = [technique for technique in techniques if technique != Technique.RELAY]
    if not techniques:
        option = "--raw" if options.raw else "--no-relay"
        raise UsageError(
            f"{option} and --only {Technique.RELAY} leave no way to a peer: leave one of them out"
        )
    return techniques


def _grace(options: argparse.Namespace) -> float:
    return DEFAULT_GRACE if options.grace is None else options.grace


def _broker(options: argparse.Namespace) -> tuple[str, int]:
    if options.broker is None:
        raise UsageError(
            "where is the broker? Say --broker HOST:PORT, or set TRIO_P2P_BROKER to HOST:PORT"
        )
    broker: tuple[str, int] = options.broker
    return broker


def _say(options: argparse.Namespace, text: str) -> None:
    """Tell who watches."""
    if options.verbose or sys.stderr.isatty():
        print(f"trio-p2p: {text}", file=sys.stderr)
