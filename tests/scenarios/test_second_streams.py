"""The second stream to a peer behind NATs: its first byte needs no round trip, and no broker.

That is read from the packets, in the order in which the hosts have sent and received them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack

import attrs
import pytest
import trio

from trio_p2p import P2PStream, PathKind, StreamPath, open_peer, serve_broker
from trio_p2p._connect import path_finder
from trio_p2p._control import control

from ..kit.lab import (
    Capture,
    Captured,
    Host,
    KernelNetwork,
    Nat,
    Site,
    capturing,
    run,
    running,
)
from ..kit.loopback import TECHNIQUES

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.usefixtures("no_heartbeats", "no_watching"),
]

PATIENCE = 60.0  # seconds until something that hangs fails its test
UID = "receiver"
STREAMS = 10  # that are opened one after another, beside the first one

Talk = Callable[[P2PStream], Awaitable[None]]


@attrs.frozen
class Lab:
    """A broker, and a receiver and a sender behind NATs."""

    host: Host
    receiver: Site
    sender: Site
    broker: tuple[str, int]


@pytest.fixture
def lab(kernel_network: KernelNetwork) -> Iterator[Lab]:
    host = kernel_network.add_host()
    receiver, sender = (kernel_network.add_site(Nat()) for _ in range(2))
    with running(host.host, serve_broker, 0) as [listener, *_]:
        port = listener.socket.getsockname()[1]
        yield Lab(host, receiver, sender, (str(host.host_address), port))


@pytest.fixture
def no_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep out what is said to the broker once for each connection, a moment after it was made."""
    monkeypatch.setattr(path_finder, "WATCHING_DELAY", 100 * PATIENCE)
    monkeypatch.setattr(control, "GREETING_DELAY", 100 * PATIENCE)


@attrs.frozen
class Said:
    """What the hosts say to each other, from when a stream is opened until its talk is over.

    Only packets of TCP count that are more than acknowledgements.

    Attributes:
        path, accepted_path: what carries the connection, at the sender and at the receiver.
        at_sender, at_receiver, at_broker: the packets there.
    """

    path: StreamPath
    accepted_path: StreamPath
    at_sender: list[Captured]
    at_receiver: list[Captured]
    at_broker: list[Captured]


async def ask(stream: P2PStream) -> None:
    """Send the first byte, and receive one that is sent when it has come."""
    await stream.send_all(b"?")
    await listen(stream)


async def listen(stream: P2PStream) -> None:
    """Receive the other side's first byte, without a word."""
    assert await stream.receive_some() == b"!"


async def answer(stream: P2PStream) -> None:
    assert await stream.receive_some() == b"?"
    await greet(stream)


async def greet(stream: P2PStream) -> None:
    """Be the first to speak."""
    await stream.send_all(b"!")
    assert await stream.receive_some() == b""


def open_further_streams(lab: Lab, kind: PathKind, handler: Talk, talk: Talk) -> list[Said]:
    """What is said for each stream that a sender opens when it has one already."""
    accepted: list[P2PStream] = []

    async def handle(stream: P2PStream) -> None:
        accepted.append(stream)
        await handler(stream)

    async def serve(*, task_status: trio.TaskStatus[object]) -> None:
        async with open_peer(lab.broker) as peer:
            await peer.serve(UID, handle, task_status=task_status)

    async def send() -> list[Said]:
        with trio.fail_after(PATIENCE):
            async with (
                open_peer(lab.broker, techniques=TECHNIQUES[kind]) as peer,
                AsyncExitStack() as streams,
            ):

                async def open_captured() -> Said:
                    for capture in captures:
                        capture.read()
                    stream = await streams.enter_async_context(await peer.open_stream(UID))
                    await talk(stream)
                    packets = [what_is_said(capture.read()) for capture in captures]
                    path, accepted_path = stream.path, accepted[-1].path
                    assert path is not None
                    assert accepted_path is not None
                    return Said(path, accepted_path, *packets)

                first, *others = [await open_captured() for _ in range(1 + STREAMS)]
                assert has_connected(first)
                return others

    with ExitStack() as stack:
        captures: list[Capture] = [
            stack.enter_context(capturing(each)) for each in (lab.sender, lab.receiver, lab.host)
        ]
        stack.enter_context(running(lab.receiver.host, serve))
        return run(lab.sender.host, send)


def what_is_said(packets: Iterable[Captured]) -> list[Captured]:
    return [each for each in packets if each.segment and each.segment.says_something]


def has_connected(said: Said) -> bool:
    """Whether hands were shaken, and the broker has introduced the peers."""
    has_syn = any(each.segment and each.segment.is_syn for each in said.at_sender)
    return has_syn and bool(said.at_broker)


def assert_one_answers_the_other(packets: list[Captured], path: StreamPath) -> None:
    """Assert that one packet passes over a path, then one the other way, and no other at all."""
    assert len(packets) == 2
    assert {each.flow for each in packets} == {(path.local, path.remote)}
    one, other = (each.segment for each in packets)
    assert one is not None
    assert other is not None
    assert other.acknowledged == one.end


@pytest.mark.parametrize("kind", PathKind)
@pytest.mark.parametrize(
    ("handler", "talk"),
    [(answer, ask), (greet, listen)],
    ids=["the sender speaks first", "the receiver speaks first"],
)
def test_first_byte_of_the_second_stream_is_in_the_first_packet(
    lab: Lab, kind: PathKind, handler: Talk, talk: Talk
) -> None:
    for said in open_further_streams(lab, kind, handler, talk):
        assert said.path.kind is said.accepted_path.kind is kind
        assert_one_answers_the_other(said.at_sender, said.path)
        assert_one_answers_the_other(said.at_receiver, said.accepted_path)
        assert [each.is_outgoing for each in said.at_sender] == [True, False]
        assert [each.is_outgoing for each in said.at_receiver] == [False, True]
        if kind is PathKind.DIRECT:
            assert not said.at_broker
        else:  # it passes on each of the two once
            assert [each.is_outgoing for each in said.at_broker] == [False, True, False, True]
