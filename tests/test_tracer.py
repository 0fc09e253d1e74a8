"""What a peer tells its tracer: each event, in its order, and none that can do harm."""

from typing import Any

import pytest
import trio

from trio_p2p import (
    Attempt,
    BrokerLostError,
    BrokerUnreachableError,
    IntroductionError,
    Outcome,
    P2PConnection,
    P2PError,
    P2PStream,
    PathKind,
    StreamPath,
    Technique,
    Tracer,
    open_peer,
)

from .kit.loopback import (
    DIRECT_TECHNIQUES,
    PATIENCE,
    AttemptTracer,
    attempts_of,
    open_broker,
    open_listener,
    until,
)
from .kit.streams import reset

EVENTS = [
    "attempt_ended",
    "registered",
    "broker_lost",
    "connection_opened",
    "path_changed",
    "connection_closed",
    "stream_opened",
    "stream_closed",
]


class ListingTracer(Tracer):
    """Lists what it is told, in its order."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def attempt_ended(self, uid: str, attempt: Attempt) -> None:
        self.events.append(("attempt_ended", uid, attempt.outcome))

    def registered(self, uid: str) -> None:
        self.events.append(("registered", uid))

    def broker_lost(self, error: P2PError) -> None:
        self.events.append(("broker_lost", type(error)))

    def connection_opened(self, connection: P2PConnection) -> None:
        self.events.append(("connection_opened", connection))

    def path_changed(self, connection: P2PConnection, path: StreamPath | None) -> None:
        self.events.append(("path_changed", connection, path and path.kind))

    def connection_closed(self, connection: P2PConnection) -> None:
        self.events.append(("connection_closed", connection))

    def stream_opened(self, stream: P2PStream) -> None:
        self.events.append(("stream_opened", stream))

    def stream_closed(self, stream: P2PStream) -> None:
        self.events.append(("stream_closed", stream))


def fail(event: str) -> Any:
    def raise_error(*_: object) -> None:
        raise ZeroDivisionError(event)

    return raise_error


def failing_tracer() -> Tracer:
    """A tracer that fails whatever it is told."""
    tracer = Tracer()
    for event in EVENTS:
        setattr(tracer, event, fail(event))
    return tracer


def test_tracer_has_these_events() -> None:
    assert [name for name in vars(Tracer) if not name.startswith("_")] == EVENTS


async def test_events_of_both_sides_come_in_their_order() -> None:
    ours, theirs = ListingTracer(), ListingTracer()
    async with (
        open_broker() as broker,
        open_peer(broker.address, tracer=theirs) as receiver,
        open_peer(broker.address, techniques=["relay"], tracer=ours) as sender,
        receiver.listen("receiver") as listener,
    ):
        opened = await sender.open_stream("receiver")
        accepted = await listener.accept()
        async with accepted, opened:
            pass
        await until(lambda: sender.statistics().streams == receiver.statistics().streams == 0)
        await opened.connection.aclose()
        await until(lambda: receiver.statistics().connections == 0)
    # The stream may be there before the task that tells of paths has had its turn.
    assert set(ours.events[2:4]) == {
        ("path_changed", opened.connection, PathKind.RELAY),
        ("stream_opened", opened),
    }
    assert ours.events[:2] + ours.events[4:] == [
        ("attempt_ended", "receiver", Outcome.CONNECTED),
        ("connection_opened", opened.connection),
        ("stream_closed", opened),
        ("connection_closed", opened.connection),
    ]
    assert set(theirs.events[2:4]) == {
        ("path_changed", accepted.connection, PathKind.RELAY),
        ("stream_opened", accepted),
    }
    assert theirs.events[:2] + theirs.events[4:] == [
        ("registered", "receiver"),
        ("connection_opened", accepted.connection),
        ("stream_closed", accepted),
        ("connection_closed", accepted.connection),
    ]


async def test_loss_of_a_path_and_the_next_one_are_told() -> None:
    tracer = ListingTracer()
    async with (
        open_broker() as broker,
        open_listener("receiver", broker.address) as listener,
        open_peer(broker.address, techniques=DIRECT_TECHNIQUES, tracer=tracer) as sender,
        await sender.open_stream("receiver") as opened,
        await listener.accept(),
    ):
        path = opened.path
        assert path is not None
        reset(path)
        with trio.fail_after(PATIENCE):
            while opened.path in (path, None):
                await opened.wait_path_changed(opened.path)
        found = ("path_changed", opened.connection, PathKind.DIRECT)
        await until(lambda: tracer.events[-1] == found)
    changes = [event[2] for event in tracer.events if event[0] == "path_changed"]
    assert changes == [PathKind.DIRECT, None, PathKind.DIRECT]
    assert tracer.events[-2:] == [
        ("stream_closed", opened),
        ("connection_closed", opened.connection),
    ]


async def test_loss_of_the_broker_and_the_next_registration_are_told() -> None:
    tracer = ListingTracer()
    async with (
        open_broker() as broker,
        open_peer(broker.address, tracer=tracer) as receiver,
        receiver.listen("receiver"),
    ):
        await broker.kill()
        await until(lambda: len(tracer.events) > 1)
        await broker.start()
        await until(lambda: tracer.events[-1] == ("registered", "receiver"))
    first, *losses, last = tracer.events
    assert first == last == ("registered", "receiver")
    assert {error for _, error in losses} <= {BrokerLostError, BrokerUnreachableError}
    assert losses


async def test_attempts_that_fail_are_told_as_the_error_tells_them() -> None:
    tracer = AttemptTracer()
    async with (
        open_broker() as broker,
        open_listener("receiver", broker.address, techniques=["classic"]),
        open_peer(broker.address, techniques=["fast"], tracer=tracer) as sender,
    ):
        with pytest.raises(IntroductionError) as caught:
            await sender.open_stream("receiver")
    assert tracer.attempts == attempts_of(caught.value)
    assert [attempt.technique for attempt in tracer.attempts] == [Technique.FAST]


async def test_what_ends_as_its_peer_is_left_is_told_to_be_closed() -> None:
    tracer = ListingTracer()
    async with open_broker() as broker, open_listener("receiver", broker.address):
        async with open_peer(broker.address, tracer=tracer) as sender:
            opened = await sender.open_stream("receiver")
        assert ("stream_closed", opened) in tracer.events
        assert tracer.events[-1] == ("connection_closed", opened.connection)


async def test_tracer_that_fails_is_logged_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        open_broker() as broker,
        open_peer(broker.address, tracer=failing_tracer()) as receiver,
        open_peer(broker.address, tracer=failing_tracer()) as sender,
        receiver.listen("receiver") as listener,
    ):
        opened = await sender.open_stream("receiver")
        accepted = await listener.accept()
        async with accepted, opened:
            await opened.send_all(b"data")
            assert await accepted.receive_some() == b"data"
        await broker.kill()
        await broker.start()
        await until(lambda: listener.statistics().registrations == 2)
        await until(lambda: sender.statistics().streams == 0)
        await opened.connection.aclose()
    failures = {
        str(record.exc_info[1])
        for record in caplog.records
        if record.name == "trio_p2p.tracer" and record.exc_info
    }
    assert failures == set(EVENTS)
