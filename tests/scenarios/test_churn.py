"""A broker with every option, for long: its memory and its descriptors stay what they were."""

import os
import secrets
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import attrs
import pytest
import trio

from trio_p2p import Identity
from trio_p2p._identity.access_token import AccessToken, Use
from trio_p2p._net.calendar import unix_time

from ..kit.broker_process import GENEROUS_OPTIONS, BrokerProcess, open_broker_process
from ..kit.certificates import Authority
from ..kit.churn import Churn
from ..kit.loopback import HOST, until
from ..kit.soak import LITTLE_OR_MUCH

pytestmark = [pytest.mark.once, pytest.mark.slow]

RATE = 200  # introductions each second, if this host can
SECONDS, SOAK_SECONDS = 30.0, 1800.0
LOOK_TIME = 0.25  # seconds
WARM_UP = 0.4  # of the time, until all caches and tables are as large as they get
WINDOW = 0.2  # of the time: what is held is compared over so long
# What allocator and tables may take besides. In the short run 2 KiB of each introduction would be
# more, in the long one 20 bytes.
MORE_BYTES = 2 << 20
RELOAD_LOOKS = 40  # from one SIGHUP, and one look at the metrics, to the next


@attrs.frozen
class Look:
    """What a broker holds at a moment."""

    resident_bytes: int
    descriptors: int


@asynccontextmanager
async def open_broker_with_every_option(
    directory: Path, seconds: float
) -> AsyncGenerator[tuple[BrokerProcess, int, bytes]]:
    """A broker, the port of its status page, and a token for it."""
    tls = Authority(directory).issue(HOST)
    key = Identity.generate()
    key.save(directory / "tokens.pem")
    for name in ("allow", "deny", "revoked"):
        (directory / name).write_text(f"no such {name}\n" if name != "revoked" else "")
    expires_at = int(unix_time()) + 24 * 3600
    token = AccessToken(secrets.token_bytes(8), frozenset(Use), expires_at).sign(key.private_key)
    async with open_broker_process(
        *GENEROUS_OPTIONS,
        f"--tls-cert={tls.certificate}",
        f"--tls-key={tls.key}",
        "--closed",
        f"--token-key={directory / 'tokens.pem'}",
        *(f"--{name}={directory / name}" for name in ("allow", "deny", "revoked")),
        "--proxy-from=127.0.0.99",
        f"--probe-at={HOST}:9",
        f"--external={HOST}",
        "--relay-rate=100000000",
        "--relay-bytes=100000000",
        "--relay-total-rate=1000000000",
        "--relay-rate-per-ip=1000000000",
        "--relay-bytes-per-ip=1000000000000",
        f"--status={HOST}:0",
        "--log-format=json",
        "--log-peers",
        lifetime=2 * seconds + 120,
    ) as broker:
        page = await broker.wait_for("status page on ")
        yield broker, int(page.rstrip('"}').rpartition(":")[2]), token


async def scrape(port: int) -> bytes:
    """What the broker's metrics say."""
    async with await trio.open_tcp_stream(HOST, port) as stream:
        request = f"GET /metrics HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n"
        await stream.send_all(request.encode())
        return b"".join([data async for data in stream])


async def look_on(broker: BrokerProcess, status: int, seconds: float) -> list[Look]:
    """What the broker holds, again and again."""
    looks: list[Look] = []
    until_time = trio.current_time() + seconds
    while trio.current_time() < until_time:
        await trio.sleep(LOOK_TIME)
        looks.append(Look(broker.resident_bytes, broker.descriptors))
        if len(looks) % RELOAD_LOOKS == 0:
            os.kill(broker.process.pid, signal.SIGHUP)
            assert b"trio_p2p_broker_" in await scrape(status)
    return looks


def check_flat(looks: list[Look]) -> None:
    """Check that no more is held in the end than after the warm-up."""
    begin, width = int(len(looks) * WARM_UP), int(len(looks) * WINDOW)
    before, after = looks[begin : begin + width], looks[-width:]
    bytes_before, bytes_after = (
        median(look.resident_bytes for look in window) for window in (before, after)
    )
    assert bytes_after <= bytes_before + MORE_BYTES


@LITTLE_OR_MUCH
async def test_broker_holds_no_more_after_long_churn(*, is_soak: bool, tmp_path: Path) -> None:
    seconds = SOAK_SECONDS if is_soak else SECONDS
    async with open_broker_with_every_option(tmp_path, seconds) as (broker, status, token):
        await scrape(status)
        idle = broker.descriptors
        churn = Churn(broker.address, token, RATE)
        await churn.crowd()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(churn.run)
            looks = await look_on(broker, status, seconds)
            nursery.cancel_scope.cancel(reason="it was long enough")
        check_flat(looks)
        assert set(churn.introduced) == {"kept", "fast", "classic", "relay"}
        await until(lambda: broker.descriptors <= idle)
