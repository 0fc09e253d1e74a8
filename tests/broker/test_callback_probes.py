"""The broker calls clients back that ask for it, there and nowhere else; over loopback."""

import errno
import socket
from ipaddress import IPv4Address

import pytest
import trio
import trio.testing

from trio_p2p import Endpoint, Outcome, serve_broker
from trio_p2p._addresses import endpoint_of
from trio_p2p._broker import callback_probes as broker_calls
from trio_p2p._broker.callback_probes import call_back
from trio_p2p._net.system import system_in_use
from trio_p2p._wire.messages import CallBack, Called, CalledBack, CallSource, Hello, Observed, Probe

from ..kit.faulty_system import Fault, FaultySystem
from ..kit.loopback import HOST, PATIENCE, held
from ..kit.loopback_probes import ANOTHER_ADDRESS, open_probed_broker
from ..kit.raw_client import RawClient

NOBODYS_ADDRESS = IPv4Address("203.0.113.99")
CHALLENGE = b"c" * 32


async def connect(endpoint: Endpoint) -> RawClient:
    return RawClient(await trio.open_tcp_stream(*endpoint.sockaddr))


async def test_greeting_names_the_other_port_and_the_other_addresses() -> None:
    async with (
        open_probed_broker(ANOTHER_ADDRESS) as broker,
        await connect(broker.endpoint) as client,
    ):
        await client.send(Hello())
        greeting = await client.receive(Hello)
        assert greeting.probe_port == broker.probes[0].port != broker.endpoint.port
        assert greeting.probes == (Endpoint(ANOTHER_ADDRESS, 4433),)


@pytest.mark.parametrize("port", ["endpoint", "probes"])
async def test_both_ports_answer_probes(port: str) -> None:
    async with (
        open_probed_broker() as broker,
        await connect(broker.probes[0] if port == "probes" else broker.endpoint) as client,
    ):
        await client.send(Hello(), Probe())
        await client.receive(Hello)
        assert isinstance(client.stream, trio.SocketStream)
        own = endpoint_of(client.stream.socket.getsockname())
        assert (await client.receive(Observed)).endpoint == own


async def test_port_for_probes_that_is_taken() -> None:
    before = held()
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await serve_broker(0, host=HOST, probe_port=port)
    assert held() == before


async def test_nobody_listens_where_the_broker_calls_back() -> None:
    async with (
        open_probed_broker(ANOTHER_ADDRESS) as broker,
        await connect(broker.endpoint) as client,
    ):
        await client.send(Hello(), Probe(), CallBack())
        (*_, called_back) = await client.wait_closed()
        assert called_back == CalledBack(Outcome.REFUSED, Outcome.REFUSED)


async def test_address_that_is_not_of_this_host_calls_nobody() -> None:
    async with (
        open_probed_broker(NOBODYS_ADDRESS) as broker,
        await connect(broker.endpoint) as client,
    ):
        await client.send(Hello(), Probe(), CallBack())
        (*_, called_back) = await client.wait_closed()
        assert called_back == CalledBack(Outcome.REFUSED, None)


async def test_client_that_leaves_while_it_is_called() -> None:
    async with open_probed_broker() as broker:
        for _ in range(20):
            async with await connect(broker.endpoint) as client:
                await client.send(Hello(), Probe(), CallBack())
        async with await connect(broker.endpoint) as client:
            await client.greet()


async def test_second_call_is_a_violation() -> None:
    async with open_probed_broker() as broker, await connect(broker.endpoint) as client:
        await client.send(Hello(), Probe(), CallBack(), CallBack())
        (*_, refused) = await client.wait_closed()
        assert getattr(refused, "reason", "").endswith("out of place here (being called back)")


async def test_silent_client_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_calls, "CALL_TIME", 0.05)
    before = held()
    with socket.socket() as full:
        full.bind((HOST, 0))
        full.listen(0)  # so that it takes one connection, and is silent to all others
        endpoint = endpoint_of(full.getsockname())
        async with await trio.open_tcp_stream(*endpoint.sockaddr) as stream:
            result = await call_back(stream, endpoint, CHALLENGE, [ANOTHER_ADDRESS])
    assert result == CalledBack(Outcome.SILENT, Outcome.SILENT)
    assert held() == before


async def test_calls_come_from_elsewhere_and_are_short() -> None:
    listeners = await trio.open_tcp_listeners(0, host=HOST)
    endpoint = endpoint_of(listeners[0].socket.getsockname())
    heard: dict[CallSource, Endpoint] = {}

    async def hear() -> None:
        for _ in range(2):
            stream = await listeners[0].accept()
            async with RawClient(stream) as caller:
                called = await caller.receive(Called)
                assert called.challenge == CHALLENGE
                heard[called.source] = endpoint_of(stream.socket.getpeername())
                assert await caller.wait_closed() == []

    with trio.fail_after(PATIENCE):
        async with (
            listeners[0],
            await trio.open_tcp_stream(*endpoint.sockaddr) as stream,
            await listeners[0].accept(),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(hear)
            result = await call_back(stream, endpoint, CHALLENGE, [ANOTHER_ADDRESS])
        assert result == CalledBack(Outcome.CONNECTED, Outcome.CONNECTED)
        asked = endpoint_of((HOST, 0)).address
        assert heard[CallSource.SAME_ADDRESS].address == asked
        assert heard[CallSource.OTHER_ADDRESS].address == ANOTHER_ADDRESS


async def test_broker_without_descriptors_calls_nobody() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    endpoint = endpoint_of(listener.socket.getsockname())
    async with listener, await trio.open_tcp_stream(*endpoint.sockaddr) as stream:
        with system_in_use(FaultySystem(Fault("open_socket", nth=None, error=errno.EMFILE))):
            assert await call_back(stream, endpoint, CHALLENGE, [ANOTHER_ADDRESS]) == CalledBack()


async def test_client_that_is_gone_is_not_called() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    endpoint = endpoint_of(listener.socket.getsockname())
    async with listener:
        stream = await trio.open_tcp_stream(*endpoint.sockaddr)
        await stream.aclose()
        assert await call_back(stream, endpoint, CHALLENGE, [ANOTHER_ADDRESS]) == CalledBack()
    ours, theirs = trio.testing.memory_stream_pair()
    async with ours, theirs:
        assert await call_back(ours, endpoint, CHALLENGE, [ANOTHER_ADDRESS]) == CalledBack()
