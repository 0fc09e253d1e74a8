"""How the broker's command ends: where it sends its clients."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from trio_p2p._commands import broker as broker_command
from trio_p2p._commands.broker_end import end_on_signals
from trio_p2p._commands.broker_settings import BrokerSettings
from trio_p2p._commands.systemd import Notifier
from trio_p2p._wire.messages import Draining

from ..kit.certificates import Authority
from ..kit.commands import BrokerTool, connect, end_both, listen, open_broker
from ..kit.raw_client import open_memory_broker


async def notice_of(settings: BrokerSettings) -> Draining:
    """What a broker with these settings tells its clients when it is being stopped."""

    async def signals() -> AsyncIterator[int]:
        yield signal.SIGTERM

    async with open_memory_broker() as broker, broker.connect() as client:
        await client.register("alice")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                end_on_signals, signals(), broker.broker, lambda: settings, Notifier("")
            )
            notice = await client.receive(Draining)
            nursery.cancel_scope.cancel(reason="the test is over")
    return notice


async def test_clients_are_told_when_to_come_back() -> None:
    assert await notice_of(BrokerSettings(retry_after=2.5)) == Draining(2500)


async def test_clients_are_sent_to_other_brokers() -> None:
    """By name: each finds out itself where that leads to, and whether it is the right one."""
    places = ("127.0.0.2:4433", "tls://broker.example.org:4433#sha256=" + "0f" * 32)
    assert (await notice_of(BrokerSettings(move_to=places))).brokers == places


@pytest.mark.once
def test_peers_go_to_a_broker_that_speaks_tls_by_its_name(
    uid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    def tls(name: str) -> list[str]:
        files = authority.issue(name, name=name)
        return [f"--tls-cert={files.certificate}", f"--tls-key={files.key}"]

    def of(broker: BrokerTool, name: str) -> str:
        return f"tls://{name}:{broker.address.rpartition(':')[2]}"

    with (
        open_broker(*tls("127.0.0.1")) as wrong,
        open_broker(*tls("localhost")) as second,
        # What the name leads to has to be what the name says.
        open_broker(
            *tls("first"),
            f"--move-to={of(wrong, 'localhost')}",
            f"--move-to={of(second, 'localhost')}",
        ) as first,
    ):
        pin = first.wait_for("TLS: clients can pin the key by tls://").partition("#")[2]
        with listen(first, uid, f"--broker=tls://{first.address}#{pin}") as receiver:
            with second.expecting_registration(uid):
                first.tool.process.send_signal(signal.SIGTERM)
            first.wait_for(" INFO drained")
            with connect(second, uid, f"--broker={of(second, 'localhost')}") as sender:
                assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
        assert not any("Register(" in line for line in wrong.lines)


@pytest.mark.parametrize(
    ("setting", "text"), [("drain-grace", "-1"), ("retry-after", "0"), ("retry-after", "3601")]
)
def test_times_that_are_wrong(setting: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        broker_command.main([f"--{setting}={text}", "--check-config"])
    assert "is not a number of seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        (["broker.example.org"], "is no broker"),
        (["tls://broker.example.org:4433#sha256=0f"], "does not pin a broker's key"),
        ([f"{'a' * 400}:4433"], "is too long for a broker"),
        ([f"192.0.2.{number}:4433" for number in range(5)], "names 5 brokers"),
    ],
)
def test_other_brokers_that_are_wrong(
    places: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        broker_command.main([*(f"--move-to={place}" for place in places), "--check-config"])
    assert sentence in capsys.readouterr().err
