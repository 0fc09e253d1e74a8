"""What comes before the first message: headers of proxies, and clients that say nothing."""

import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_network

import pytest
import trio
import trio.lowlevel

from trio_p2p import Endpoint, serve_broker
from trio_p2p._addresses import endpoint_of
from trio_p2p._broker.arrivals import Arrivals, Network
from trio_p2p._broker.server import Broker
from trio_p2p._broker.tls import BrokerTLS
from trio_p2p._wire.messages import (
    CallBack,
    CalledBack,
    Hello,
    Message,
    Observed,
    Probe,
    RefusalCode,
    Refused,
    Registered,
)

from ..kit.certificates import Authority
from ..kit.loopback import HOST, LIFETIME
from ..kit.raw_client import RawClient, registration

pytestmark = pytest.mark.once

CLIENT = Endpoint(IPv4Address("203.0.113.5"), 49152)
PROXY = Endpoint(IPv4Address("198.51.100.7"), 4433)
LINE = b"PROXY TCP4 203.0.113.5 198.51.100.7 49152 4433\r\n"
OURS = (ip_network("192.0.2.0/24"), ip_network("127.0.0.0/8"))
OTHERS = (ip_network("192.0.2.0/24"), ip_network("::/0"))


@asynccontextmanager
async def running(
    proxies: tuple[Network, ...] = OURS, tls: BrokerTLS | None = None
) -> AsyncGenerator[int]:
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:

            async def serve(*, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
                await serve_broker(
                    0,
                    host=HOST,
                    proxies=proxies,
                    tls=tls,
                    probe_port=0,
                    task_status=task_status,
                )

            listener, _ = await nursery.start(serve)
            yield listener.socket.getsockname()[1]
            nursery.cancel_scope.cancel(reason="the test is over")


async def connect(port: int, said: bytes = b"") -> RawClient:
    stream = await trio.open_tcp_stream(HOST, port)
    if said:
        await stream.send_all(said)
    return RawClient(stream)


async def read_all(client: RawClient) -> bytes:
    """What comes until the broker closes the connection."""
    received = b""
    try:
        while piece := await client.stream.receive_some():
            received += piece
    except trio.BrokenResourceError:
        pass
    return received


async def answer_to_registration(client: RawClient, broker: Endpoint) -> Message:
    await client.send(registration("alice", await client.greet(), broker=broker))
    return await client.channel.receive()


async def test_a_client_is_where_its_proxy_says() -> None:
    async with running() as port, await connect(port, LINE) as client:
        await client.send(Hello(), Probe())
        assert (await client.receive(Hello)).endpoint == CLIENT
        assert (await client.receive(Observed)).endpoint == CLIENT


async def test_a_registration_is_for_where_the_client_has_come_to() -> None:
    async with running() as port:
        for broker, kind in ((PROXY, Registered), (endpoint_of((HOST, port)), Refused)):
            async with await connect(port, LINE) as client:
                answer = await answer_to_registration(client, broker)
                assert isinstance(answer, kind)
                if isinstance(answer, Refused):
                    assert answer.code is RefusalCode.IDENTITY_NOT_PROVEN


async def test_a_proxy_may_look_by_itself() -> None:
    async with running() as port:
        for header in (b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"):
            async with await connect(port, header) as client:
                assert isinstance(client.stream, trio.SocketStream)
                here = endpoint_of(client.stream.socket.getsockname())
                await client.send(Hello())
                assert (await client.receive(Hello)).endpoint == here


async def test_others_are_not_believed() -> None:
    async with running(OTHERS) as port:
        async with await connect(port, LINE) as liar:
            assert (await liar.wait_refused()).code is RefusalCode.PROTOCOL_VIOLATION
        async with await connect(port) as client:
            assert isinstance(await answer_to_registration(client, PROXY), Registered)


async def test_what_is_no_header_is_closed_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with running() as port:
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\xc4\x36" + bytes(54), b"PROXY TCP4 x" * 20):
            async with await connect(port, said) as client:
                assert await read_all(client) == b""
        lines = [each.getMessage() for each in caplog.records if "arrive" in each.getMessage()]
        assert len(lines) == 1  # the others are counted
        assert "does not begin with a PROXY header" in lines[0]
        async with await connect(port, LINE) as client:
            await client.greet()


async def test_a_header_may_come_in_pieces_and_with_the_first_message() -> None:
    async with running() as port, await connect(port) as client:
        assert isinstance(client.stream, trio.SocketStream)
        for byte in LINE:
            await client.stream.send_all(bytes([byte]))
            await trio.lowlevel.checkpoint()
        await client.greet()


async def test_those_behind_a_proxy_are_not_called_back() -> None:
    async with running() as port, await connect(port, LINE) as client:
        await client.send(Hello(), Probe())
        await client.receive(Hello)
        await client.receive(Observed)
        await client.send(CallBack())
        assert await client.receive(CalledBack) == CalledBack()


@pytest.mark.parametrize("said", [b"", b"PROXY TCP4 "], ids=["silent", "slow"])
async def test_a_client_that_does_not_arrive_is_closed(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._broker.arrivals.HEADER_TIME", 0.05)
    async with running() as port, await connect(port, said) as client:
        assert await read_all(client) == b""


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00"], ids=["silent", "slow"])
async def test_a_client_that_does_not_agree_on_tls_in_time_is_closed(
    said: bytes,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    monkeypatch.setattr("trio_p2p._broker.arrivals.OPENING_TIME", 0.05)
    tls = BrokerTLS(Authority(tmp_path_factory.mktemp("tls")).issue(HOST))
    async with running((), tls) as port, await connect(port, said) as client:
        assert await read_all(client) == b""


async def test_tls_behind_a_proxy(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    context = ssl.create_default_context(cafile=authority.file)
    async with running(OURS, BrokerTLS(authority.issue(HOST))) as port:
        plain = await connect(port, LINE)
        assert isinstance(plain.stream, trio.SocketStream)
        encrypted = trio.SSLStream(plain.stream, context, server_hostname=HOST)
        async with RawClient(encrypted) as client:
            await client.send(Hello())
            assert (await client.receive(Hello)).endpoint == CLIENT


async def test_those_that_say_nothing_give_way_to_others() -> None:
    arrivals = Arrivals(proxies=OURS)
    broker = Broker(arrivals=arrivals)
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host=HOST)
            await nursery.start(broker.serve_listeners, listeners)
            port = listeners[0].socket.getsockname()[1]
            silent = [await connect(port) for _ in range(3)]
            while len(arrivals.waiting) < len(silent):  # noqa: ASYNC110 - there is no event
                await trio.sleep(0.005)
            broker._room.make()
            for client in silent:
                assert await read_all(client) == b""
                await client.aclose()
            assert not arrivals.waiting
            nursery.cancel_scope.cancel(reason="the test is over")
