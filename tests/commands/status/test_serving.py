"""The status page beside a running broker, which does not need it."""

import http.client
import logging
import signal
import socket
import sys
from pathlib import Path

import pytest
import trio

from trio_p2p import LocalProtocolError
from trio_p2p._broker.counts import Counts
from trio_p2p._broker.server import Broker
from trio_p2p._commands import broker as broker_command
from trio_p2p._commands.status.access import Access
from trio_p2p._commands.status.serving import read_token, serve_status

from ...kit.commands import BrokerTool, connect, end_both, listen, open_broker
from ...kit.loopback import settled

pytestmark = pytest.mark.once

TOKEN = "0123456789abcdef"


def ask(broker: BrokerTool, path: str, **headers: str) -> tuple[int, bytes]:
    address = broker.wait_for("status page on ").split("//")[-1]
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    try:
        return response.status, response.read()
    finally:
        connection.close()


def test_status_is_served_and_the_broker_drains(uid: str) -> None:
    with open_broker("--status=127.0.0.1:0") as broker:
        assert ask(broker, "/readyz") == (200, b"ok\n")
        with listen(broker, uid):
            assert b"\ntrio_p2p_broker_receivers 1.0\n" in ask(broker, "/metrics")[1]
        assert broker.stop() == 0


def test_token_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    with open_broker("--status=0.0.0.0:0", f"--status-token={file}") as broker:
        assert ask(broker, "/metrics")[0] == 401
        assert ask(broker, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert TOKEN not in "".join(broker.lines)


def test_token_is_read_again_on_a_hangup(tmp_path: Path) -> None:
    config, file, other = (tmp_path / name for name in ("broker.toml", "token", "other"))

    def status_with(token: str) -> int:
        return ask(broker, "/metrics", Authorization=f"Bearer {token}")[0]

    def hang_up(line: str) -> str:
        count = sum(line in each for each in broker.lines)
        broker.tool.process.send_signal(signal.SIGHUP)
        return broker.wait_for(line, count + 1)

    file.write_text(TOKEN)
    config.write_text(f"status = '0.0.0.0:0'\nstatus-token = '{file}'")
    with open_broker("--config", str(config)) as broker:
        assert (status_with(TOKEN), status_with(TOKEN[::-1])) == (200, 401)
        file.write_text(TOKEN[::-1])
        hang_up("settings reloaded")
        assert (status_with(TOKEN), status_with(TOKEN[::-1])) == (401, 200)
        # One that is wrong leaves everything as it was.
        file.write_text("short")
        assert "has to hold a token of at least" in hang_up("nothing is reloaded: ")
        assert status_with(TOKEN[::-1]) == 200
        # Another file.
        other.write_text(TOKEN)
        config.write_text(f"status = '0.0.0.0:0'\nstatus-token = '{other}'")
        hang_up("settings reloaded")
        assert (status_with(TOKEN), status_with(TOKEN[::-1])) == (200, 401)
        assert broker.stop() == 0
        assert TOKEN not in "".join(broker.lines)


def test_broker_goes_on_without_a_port_for_the_page(uid: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with open_broker(f"--status=127.0.0.1:{port}") as broker:
            broker.wait_for(
                f"ERROR there is no status page: 127.0.0.1:{port} cannot be listened on"
            )
            with listen(broker, uid) as receiver, connect(broker, uid) as sender:
                assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
            assert broker.stop() == 0
            assert not any("Traceback" in line for line in broker.lines)


@pytest.mark.parametrize(
    "where",
    ["metrics.Metrics.__init__", "overview.Overview._look"],
    ids=["before the server begins", "while it serves"],
)
async def test_page_that_fails_ends_nothing_else(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(f"trio_p2p._commands.status.{where}", fail)
    before = await settled()
    with trio.fail_after(60):
        await serve_status(Broker(), Counts(), "127.0.0.1:0", Access(None), lambda _: None)
    assert await settled() == before
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "the broker goes on" in caplog.text


async def test_page_that_is_cancelled_while_its_server_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def begin(*_: object) -> None:
        scope.cancel(reason="the test does")
        await trio.sleep_forever()

    monkeypatch.setattr("trio_p2p._commands.status.app._live", begin)
    before = await settled()
    with trio.CancelScope() as scope:
        await serve_status(Broker(), Counts(), "127.0.0.1:0", Access(None), lambda _: None)
    assert scope.cancelled_caught
    assert await settled() == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--status=0.0.0.0:9433"], "others can reach the status page at 0.0.0.0:9433"),
        (["--status=[::]:9433"], "others can reach the status page at [::]:9433"),
        (["--status=9433"], "'9433' is no IP address and port"),
        (["--status=example.org:1"], "'example.org:1' is no IP address and port"),
        (["--status=127.0.0.1:x"], "'127.0.0.1:x' is no IP address and port"),
        (["--status-token=/nowhere"], "/nowhere cannot be read (No such file or directory)"),
    ],
)
def test_settings_that_are_wrong(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        broker_command.main([*options, "--check-config"])
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "short", "0123456789abcdef with spaces", "ä" * 20])
def test_token_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(LocalProtocolError, match="openssl rand -hex 16"):
        read_token(file)


@pytest.mark.parametrize("missing", ["hypercorn.trio", "prometheus_client"])
def test_missing_packages_are_said(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit, match="2"):
        broker_command.main(["--status=127.0.0.1:0", "--check-config"])
    assert "pip install trio-p2p[status]" in capsys.readouterr().err
    assert broker_command.main(["--check-config"]) == 0  # which does not take them


def test_second_signal_ends_the_broker_at_once(uid: str) -> None:
    with (
        open_broker("--drain-grace=1000") as broker,
        listen(broker, uid),
        connect(broker, uid, "--only=relay") as sender,
    ):
        sender.say(b"x")
        broker.wait_for("RelayRequest")
        broker.wait_for("Relayed")
        broker.tool.process.send_signal(signal.SIGTERM)
        broker.wait_for("draining for up to 1000 seconds")
        assert broker.stop() == 0
        broker.wait_for("got SIGTERM again: ending at once")
