"""What is at the broker's address accepts connections and says nothing, or speaks another protocol.

A captive portal, a transparent proxy, a broker that has stopped: each exchange with the broker ends
with an error that names the address, and another address of the broker is tried.
"""

import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trio_p2p import (
    BrokerLostError,
    BrokerUnreachableError,
    P2PError,
    RemoteProtocolError,
    open_p2p_listener,
)
from trio_p2p._broker_client import connection as broker_connection, relay
from trio_p2p._control import broker_link
from trio_p2p._net.system import System, system_in_use
from trio_p2p._wire.messages import Hello, IntroductionRequest, Register, Registered

from ..kit.fake_broker import open_fake_broker
from ..kit.hostile import GREETING, THERE
from ..kit.loopback import PATIENCE, TECHNIQUES, held, open_broker, open_stream, until
from ..kit.raw_client import RawClient
from .test_hostile_brokers import CLIENTS, Client, listen, says

BROKER = ("broker.example", 1)
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_connection, "GREETING_TIME", 0.2)
    monkeypatch.setattr(broker_connection, "ANSWER_TIME", 0.2)
    monkeypatch.setattr(broker_link, "ANSWER_TIME", 0.2)
    monkeypatch.setattr(relay, "INTRODUCTION_TIME", 0.2)


async def says_nothing(client: RawClient) -> None:
    await client.receive(Hello)


async def greets_and_says_nothing(client: RawClient) -> None:
    await client.receive(Hello)
    await client.send(GREETING)


@CLIENTS
@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize(
    ("script", "kind", "sentence"),
    [
        pytest.param(says_nothing, BrokerUnreachableError, "did not greet for", id="silent"),
        pytest.param(says(PORTAL), RemoteProtocolError, "but something else", id="a portal"),
    ],
)
async def test_what_is_no_broker_is_called_so(
    client: Client, script: Any, kind: type[P2PError], sentence: str
) -> None:
    before = held()
    async with open_fake_broker(script) as address:
        with trio.fail_after(PATIENCE), pytest.raises(kind) as caught:
            await client(address)
    assert f"no trio-p2p broker answers at 127.0.0.1:{address[1]}" in str(caught.value)
    assert sentence in str(caught.value)
    await until(lambda: held() == before)


@CLIENTS
@pytest.mark.usefixtures("impatience")
async def test_broker_that_stops_after_its_greeting(client: Client) -> None:
    async with open_fake_broker(greets_and_says_nothing) as address:
        with trio.fail_after(PATIENCE), pytest.raises(BrokerLostError) as caught:
            await client(address)
    assert f"the broker at 127.0.0.1:{address[1]} has not answered" in str(caught.value)


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("data", [b"", PORTAL], ids=["silent", "a portal"])
async def test_receiver_that_comes_back_passes_over_what_is_no_broker(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    registrations, is_script_over = 0, False

    async def serve(client: RawClient) -> None:
        nonlocal registrations, is_script_over
        await client.receive(Hello)  # what looks at the way to the broker sends none
        if registrations == 1 and not is_script_over:
            is_script_over = True
            await client.stream.send_all(data)
            return
        await client.send(GREETING)
        await client.receive(Register)
        await client.send(Registered(0, THERE))
        registrations += 1
        if registrations == 1:
            await client.aclose()

    async with open_fake_broker(serve) as address, open_p2p_listener("alice", address) as listener:
        await until(lambda: listener.statistics().registrations == 2)
    assert f"no trio-p2p broker answers at 127.0.0.1:{address[1]}" in caplog.text


class TwoAddresses(System):
    """A system on which the broker's name stands for two addresses."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str | bytes, port: int, family: int) -> list[Any]:
        assert (host, port) == BROKER
        await trio.lowlevel.checkpoint()
        if family == socket.AF_INET6:
            raise socket.gaierror(socket.EAI_NONAME, "no IPv6 address")
        return list(self._addresses)


@asynccontextmanager
async def open_two(script: Any) -> AsyncGenerator[TwoAddresses]:
    """What is no broker at the first address of a name, and a broker at the second one."""
    async with open_fake_broker(script) as wrong, open_broker() as broker:
        yield TwoAddresses(wrong, broker.address)


@pytest.mark.parametrize("script", [says_nothing, says(PORTAL)], ids=["silent", "a portal"])
@pytest.mark.parametrize("path", ["direct", "relay", "any"])
async def test_next_address_is_tried(script: Any, path: str) -> None:
    async with open_two(script) as system:
        with system_in_use(system), trio.fail_after(PATIENCE):
            async with (
                open_p2p_listener("alice", BROKER) as listener,
                open_stream("alice", BROKER, techniques=TECHNIQUES[path]) as stream,
                await listener.accept() as accepted,
            ):
                await stream.send_all(b"?")
                assert await accepted.receive_some() == b"?"


@pytest.mark.usefixtures("impatience")
async def test_error_names_all_addresses() -> None:
    async with open_fake_broker(says_nothing) as one, open_fake_broker(says_nothing) as other:
        with (
            system_in_use(TwoAddresses(one, other)),
            trio.fail_after(PATIENCE),
            pytest.raises(BrokerUnreachableError) as caught,
        ):
            await listen(BROKER)
    for address in (one, other):
        assert f"no trio-p2p broker answers at 127.0.0.1:{address[1]}" in str(caught.value)


async def test_what_was_asked_over_a_link_ends_when_the_link_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "trio_p2p")

    async def closes(client: RawClient) -> None:
        await greets_and_says_nothing(client)
        await client.receive(IntroductionRequest)
        await client.aclose()

    async with open_fake_broker(closes) as address:
        with trio.fail_after(PATIENCE), pytest.raises(BrokerLostError, match="was lost"):
            async with open_stream("alice", address, techniques=TECHNIQUES["direct"]):
                pytest.fail("connected")
