"""What a sender tells the broker of its searches, and that it says no more than that."""

import pytest
import trio

from trio_p2p import P2PError, Technique, open_peer
from trio_p2p._broker.observer import Observer
from trio_p2p._control.reports import Reports
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import Report
from trio_p2p._wire.offer import Opening

from ..kit.loopback import (
    LoopbackBroker,
    open_broker,
    open_listener,
    open_raw_listener,
    open_stream,
    until,
)


class Recorder(Observer):
    def __init__(self) -> None:
        self.reports: list[Report] = []

    def reported(self, report: Report) -> None:
        self.reports.append(report)


def recorder_of(broker: LoopbackBroker) -> Recorder:
    recorder = Recorder()
    broker.broker.registry._observer = recorder
    return recorder


async def test_direct_connection_is_reported() -> None:
    async with open_broker() as broker:
        recorder = recorder_of(broker)
        async with (
            open_listener("alice", broker.address) as listener,
            open_stream("alice", broker.address, techniques=["fast"]) as stream,
        ):
            await stream.send_all(b"x")
            async with await listener.accept():
                await until(lambda: bool(recorder.reports))
    [report] = recorder.reports
    assert report.connected_by is Technique.FAST
    assert b"alice" not in encode(report)
    assert b"\x7f\x00\x00\x01" not in encode(report)


async def test_nothing_is_reported_of_an_unknown_uid() -> None:
    async with open_broker() as broker:
        recorder = recorder_of(broker)
        async with (
            open_listener("alice", broker.address),
            open_peer(broker.address, techniques=["fast"]) as sender,
        ):
            with pytest.raises(P2PError):
                await sender.open_raw_stream("nobody")
            # What is said over the same connection afterwards comes after a report.
            with sender._controls.watching("x"):
                await until(lambda: broker.broker.registry.watches == 1)
        assert recorder.reports == []


async def test_search_that_finds_no_way_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_arguments: object, **_options: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("trio_p2p._connect.rounds.connect_introduced", never)
    monkeypatch.setattr(
        "trio_p2p._connect.rounds.ROUNDS",
        {Technique.FAST: ((Opening.RECEIVER_HOLDS, 0.01),)},
    )
    async with open_broker() as broker:
        recorder = recorder_of(broker)
        async with (
            open_raw_listener("alice", broker.address, techniques=["fast"]),
            open_peer(broker.address, techniques=["fast"]) as sender,
        ):
            with pytest.raises(P2PError):
                await sender.open_raw_stream("alice")
            await until(lambda: bool(recorder.reports))
    [report] = recorder.reports
    assert report.connected_by is None


async def test_reports_are_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reports, "take", lambda *_: False)
    async with open_broker() as broker:
        recorder = recorder_of(broker)
        async with (
            open_listener("alice", broker.address) as listener,
            open_stream("alice", broker.address, techniques=["fast"]) as stream,
        ):
            await stream.send_all(b"x")
            async with await listener.accept():
                pass
        assert recorder.reports == []
