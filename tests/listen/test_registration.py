"""A receiver that comes back: how soon, and for how long it tries."""

import pytest
import trio

from trio_p2p import open_p2p_listener
from trio_p2p._net.backoff import Backoff
from trio_p2p._net.network_changes import Network
from trio_p2p._wire.messages import Hello, Register, Registered

from ..kit.hostile import GREETING, THERE
from ..kit.loopback import until
from ..kit.raw_client import RawClient
from ..kit.streams import open_peers
from ..scenarios.test_hostile_brokers import open_fake_broker


async def register_all(client: RawClient) -> None:
    await client.receive(Hello)
    await client.send(GREETING)
    await client.receive(Register)
    await client.send(Registered(THERE))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were due, which are not made."""
    due: list[float] = []

    async def rest(backoff: Backoff, network: Network, **_options: object) -> None:
        due.append(backoff._pause)
        await trio.lowlevel.checkpoint()
        backoff.next_pause()

    monkeypatch.setattr(Backoff, "rest", rest)
    return due


async def test_pauses_grow_if_each_registration_breaks_at_once(pauses: list[float]) -> None:
    async def register_and_close(client: RawClient) -> None:
        await register_all(client)
        await client.aclose()

    async with (
        open_fake_broker(register_and_close) as address,
        open_p2p_listener("alice", address) as listener,
    ):
        await until(lambda: listener.statistics().registrations == 10)
    assert pauses[:9] == [min(0.1 * 2**n, 30.0) for n in range(9)]


async def test_receiver_is_awaited_while_an_accepted_stream_has_no_path() -> None:
    async with open_peers() as peers:
        registration = peers.listener._registration
        opened, accepted = await peers.open_pair("relay")
        assert not registration._is_awaited()
        await peers.broker.kill()
        await until(lambda: accepted.path is None)
        assert registration._is_awaited()
        await peers.broker.start()
        await until(lambda: not registration._is_awaited())
        await opened.aclose()
        await accepted.aclose()
        assert not registration._is_awaited()
