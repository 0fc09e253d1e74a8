"""The broker's settings are loaded again: all, or none if one is wrong."""

import logging
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_p2p._broker.access import Access
from trio_p2p._broker.server import Broker
from trio_p2p._broker.tls import BrokerTLS
from trio_p2p._commands import broker as broker_command
from trio_p2p._commands.broker_reloading import RESOLVE_TIME, Reloading, load, status_token
from trio_p2p._commands.settings import Sources
from trio_p2p._commands.status.access import Access as StatusAccess
from trio_p2p._net.system import System, system_in_use


class Slow(System):
    """A host whose resolver does not answer."""

    async def resolve(self, host: str | bytes, port: int, family: int) -> list[Any]:
        del host, port, family
        await trio.sleep_forever()


def reloading(config: Path) -> Reloading:
    options = broker_command._parser().parse_args(["--config", str(config)])
    sources = Sources(options, {}, broker_command.PREFIX, config)
    settings = load(sources)
    access, status_access = Access(settings.access), StatusAccess(status_token(settings))
    tls = BrokerTLS(None)
    return Reloading(settings, sources, Broker(), access, tls, status_access=status_access)


def write(config: Path, text: str) -> None:
    config.write_text(text)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "broker.toml"
    path.write_text("")
    return path


async def test_names_that_are_not_resolved_in_time(
    config: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    reloaded = reloading(config)
    former = reloaded.settings
    write(config, "probe-at = 'broker.example.org:4433'\nlimit-watches = 1")
    began_at = trio.current_time()
    with system_in_use(Slow()):
        await reloaded.reload()
    assert trio.current_time() == began_at + RESOLVE_TIME
    assert reloaded.settings == former
    assert reloaded._broker.registry._watches.limits.watches == former.limit_watches
    [message] = caplog.messages
    assert message.startswith("nothing is reloaded: the names of probe-at are not resolved")


async def test_what_takes_a_new_start_is_said_in_one_line(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reloaded = reloading(config)
    write(
        config,
        "host = '127.0.0.1'\nport = 5\nno-probes = true\nprobe-port = 6\nexternal = '192.0.2.1'\n"
        "status = '127.0.0.1:9433'\nlimit-watches = 7\nproxy-from = '192.0.2.0/24'\n",
    )
    caplog.set_level(logging.INFO)
    await reloaded.reload()
    assert caplog.messages[:1] == [
        "to change host, port, probe-port, no-probes, status, start the broker again"
    ]
    settings = reloaded.settings
    assert (settings.port, settings.limit_watches) == (4433, 7)
    # The port that an endpoint has by default is the one that is listened on.
    [external] = reloaded._broker._own_endpoints.external
    assert str(external) == "192.0.2.1:4433"
    assert list(map(str, reloaded._broker._arrivals.proxies)) == ["192.0.2.0/24"]


async def test_page_that_others_reach_keeps_its_token(
    config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if the file says where else to serve it, which takes a new start."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    write(config, f"status = '0.0.0.0:9433'\nstatus-token = '{token}'")
    reloaded = reloading(config)
    write(config, "status = '127.0.0.1:9433'")
    await reloaded.reload()
    [message] = caplog.messages
    assert message.startswith("nothing is reloaded: others can reach the status page at 0.0.0.0")
    assert reloaded._status_access.token == "0123456789abcdef"
