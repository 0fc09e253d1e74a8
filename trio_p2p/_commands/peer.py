"""``trio-p2p listen`` and ``trio-p2p connect``: one peer, joined with the standard streams."""

from __future__ import annotations

import argparse
from functools import partial

import trio

from .._net.nursery import open_background_nursery
from .admission import open_admission
from .bridge import bridge_standard_streams
from .command_stream import run_on_stream
from .keeping import CommandForEach, LinesOfPeers
from .named_receiver import receiver_named
from .peer_options import open_peer_as_told
from .report import Report
from .run import UsageError, tell_user
from .seen_path import described
from .standard_streams import require_standard_streams


async def listen(options: argparse.Namespace) -> None:
    """Wait for one peer, or for many, and talk to each, or have a command do so."""
    if options.exec is None:
        require_standard_streams()
    _refuse_without_sessions(options, "grace", "admit")
    if not options.raw:
        await (_keep_listening if options.keep else _listen)(options)
    elif options.keep or options.exec:
        raise UsageError(
            "a raw connection is for one peer, and for the standard streams: leave "
            f"--{'keep' if options.keep else 'exec'} out, or --raw"
        )
    else:
        await _listen_raw(options)


async def _listen(options: argparse.Namespace) -> None:
    """Listen for a session, which stays registered so that its peer finds other paths to it."""
    async with (
        open_peer_as_told(options) as peer,
        open_admission(peer, options) as admission,
        peer.listen(admission.uid, admit=admission.admit) as listener,
    ):
        if admission.is_by_code:
            admission.tell_command("connect")
        tell_user(f"waiting for a peer as {admission.uid!r}; we are {listener.peer_id}")
        stream = await listener.accept()
        async with open_background_nursery() as nursery:
            nursery.start_soon(listener.drain)  # there is no place for another one
            tell_user(f"connected to {stream.peer_id}")
            if options.exec is None:
                await bridge_standard_streams(stream)
            else:
                await run_on_stream(options.exec, stream)


async def _keep_listening(options: argparse.Namespace) -> None:
    each = LinesOfPeers() if options.exec is None else CommandForEach(options.exec)
    async with (
        open_peer_as_told(options) as peer,
        open_admission(peer, options) as admission,
        open_background_nursery() as nursery,
    ):
        serve = partial(peer.serve, admission.uid, each.handle, admit=admission.admit)
        await nursery.start(serve)
        if admission.is_by_code:
            admission.tell_command("connect")
        tell_user(f"waiting for peers as {admission.uid!r}; we are {peer.peer_id}")
        await trio.sleep_forever()


async def _listen_raw(options: argparse.Namespace) -> None:
    if options.uid is None:
        raise UsageError("a raw connection proves nothing: name a UID, or leave --raw out")
    async with open_peer_as_told(options) as peer:
        async with peer.listen_raw(options.uid) as listener:
            tell_user(f"waiting for a peer as {options.uid!r}, without encryption")
            stream = await listener.accept()
        async with stream:
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
    async with open_peer_as_told(options, tracer=report) as peer:
        receiver = await receiver_named(peer, options.uid, options)
        stream = await receiver.open_stream(wait=options.wait)
        tell_user(f"connected to {stream.peer_id}; the path is {described(stream.path)}")
        await bridge_standard_streams(stream)


async def _connect_raw(options: argparse.Namespace, report: Report) -> None:
    async with (
        open_peer_as_told(options, has_identity=False, tracer=report) as peer,
        await peer.open_raw_stream(options.uid, wait=options.wait) as stream,
    ):
        path = report.note_opened_raw()
        tell_user(f"connected, without encryption; the path is {described(path)}")
        await bridge_standard_streams(stream)


def _refuse_without_sessions(options: argparse.Namespace, *names: str) -> None:
    """Refuse options that only sessions have a use for."""
    for name in names:
        if options.raw and getattr(options, name) is not None:
            raise UsageError(
                f"a raw connection proves no identity, and does not outlive its path: "
                f"leave --{name} out, or --raw"
            )
