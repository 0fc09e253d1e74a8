"""What a broker tells an observer, and what it writes of that to its log."""

import logging

import pytest
import trio

from trio_p2p import Endpoint, Technique
from trio_p2p._broker.log_observer import LogObserver
from trio_p2p._broker.observer import Observer
from trio_p2p._wire.messages import Kill, RefusalCode, Refused

from ..kit.loopback import open_broker, open_listener, open_stream
from ..kit.raw_client import request
from .registries import Broker

HERE = Endpoint("192.0.2.1", 1024)


class Recorder(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def registered(self, uid: str, endpoint: Endpoint) -> None:
        self.told.append(("registered", uid, str(endpoint.address)))

    def unregistered(self, uid: str) -> None:
        self.told.append(("unregistered", uid))

    def introduced(self, technique: Technique) -> None:
        self.told.append(("introduced", technique))


def test_name_begins_with_its_first_registration_and_ends_with_its_last() -> None:
    recorder = Recorder()
    broker = Broker(observer=recorder)
    over_ipv4 = broker.receiver("alice", host="203.0.113.5")
    over_ipv6 = broker.receiver("alice", host="2001:db8::5")
    broker.say(over_ipv4, Kill())
    assert recorder.told == [("registered", "alice", "203.0.113.5")]
    broker.say(over_ipv6, Kill())
    assert recorder.told[1:] == [("unregistered", "alice")]


@pytest.mark.parametrize("technique", ["fast", "classic", "relay"])
def test_introductions(technique: str) -> None:
    recorder = Recorder()
    broker = Broker(observer=recorder)
    broker.receiver("alice")
    broker.say(broker.greeted(), request(0, "alice", technique))
    assert recorder.told[1:] == [("introduced", technique)]
    broker.say(broker.greeted(), request(0, "bob", technique))
    assert len(recorder.told) == 2


async def test_refusals_are_counted_in_the_log(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    caplog.set_level(logging.INFO)
    observer = LogObserver()
    refused = Refused(RefusalCode.UNKNOWN_UID, "no such UID")
    for _ in range(5):
        observer.refused(HERE, refused)
    await trio.sleep(61)
    observer.refused(HERE, refused)
    observer.refused(HERE, Refused(RefusalCode.BUSY, "too many"))
    line = "client 192.0.2.1:1024 refused (unknown-uid): no such UID"
    assert caplog.messages == [
        line,
        f"{line} (and 4 more times since this was last said)",
        "client 192.0.2.1:1024 refused (busy): too many",
    ]


async def test_relays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_p2p.broker")
    async with open_broker() as broker:
        async with (
            open_listener("alice", broker.address) as listener,
            open_stream("alice", broker.address, techniques=["relay"]) as stream,
        ):
            await stream.send_all(b"x")
            async with await listener.accept() as accepted:
                await accepted.receive_some()
        with trio.fail_after(10):
            while not any(  # noqa: ASYNC110 - the broker learns of it later
                line.startswith("relay ended: ") for line in caplog.messages
            ):
                await trio.sleep(0.01)
    assert "receiver 'alice' unregistered" in caplog.messages
