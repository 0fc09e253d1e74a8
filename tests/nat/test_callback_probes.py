"""The broker calls back whoever asks for it, there and nowhere else; over loopback."""

import errno
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from ipaddress import IPv4Address

import attrs
import pytest
import trio
import trio.testing

from trio_p2p import Endpoint, Outcome, RemoteProtocolError, serve_broker
from trio_p2p._addresses import endpoint_of
from trio_p2p._broker import callback_probes as broker_calls
from trio_p2p._broker.callback_probes import call_back
from trio_p2p._broker_client.resolve import connect_to_broker
from trio_p2p._nat import callback_probes as calls
from trio_p2p._nat.callback_probes import MAX_CALLERS, receive_calls
from trio_p2p._nat.classification import Calls
from trio_p2p._nat.survey import survey_nat
from trio_p2p._net.channel import Channel, ChannelClosedError
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import (
    CallBack,
    Called,
    CalledBack,
    CallSource,
    Hello,
    KeepAlive,
    Message,
    Observed,
    Probe,
)
from trio_p2p._wire.offer import Behaviour

from ..kit.loopback import HOST, PATIENCE, held
from ..kit.raw_client import RawClient

ANOTHER_ADDRESS = IPv4Address("127.0.0.2")  # of this host, as all of 127.0.0.0/8
NOBODYS_ADDRESS = IPv4Address("203.0.113.99")
CHALLENGE = b"c" * 32


@attrs.frozen
class Served:
    """A broker: the endpoint of its port, and that of the port for probes."""

    endpoint: Endpoint
    probes: Endpoint


@asynccontextmanager
async def open_probed_broker(*addresses: IPv4Address) -> AsyncGenerator[Served]:
    serve = partial(
        serve_broker,
        0,
        host=HOST,
        probe_port=0,
        probe_at=[Endpoint(address, 4433) for address in addresses],
    )
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(serve)
            yield Served(*(endpoint_of(each.socket.getsockname()) for each in listeners))
            nursery.cancel_scope.cancel(reason="the test is over")


async def connect(endpoint: Endpoint) -> RawClient:
    return RawClient(await trio.open_tcp_stream(*endpoint.sockaddr))


async def hear_calls(endpoint: Endpoint) -> Calls:
    """What a client hears that asks there to be called back."""
    observed: list[Endpoint] = []
    async with await connect_to_broker([endpoint], ()) as connection:
        heard = await receive_calls(connection, observed.append)
        assert observed == [connection.local]
        return heard


# The broker's side.


async def test_greeting_names_the_other_port_and_the_other_addresses() -> None:
    async with (
        open_probed_broker(ANOTHER_ADDRESS) as broker,
        await connect(broker.endpoint) as client,
    ):
        await client.send(Hello())
        greeting = await client.receive(Hello)
        assert greeting.probe_port == broker.probes.port != broker.endpoint.port
        assert greeting.probes == (Endpoint(ANOTHER_ADDRESS, 4433),)


@pytest.mark.parametrize("port", ["endpoint", "probes"])
async def test_both_ports_answer_probes(port: str) -> None:
    async with (
        open_probed_broker() as broker,
        await connect(getattr(broker, port)) as client,
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


# The client's side.


@pytest.mark.parametrize("other", [True, None])
async def test_calls_are_heard(other: bool | None) -> None:
    before = held()
    addresses = [ANOTHER_ADDRESS] if other else []
    async with open_probed_broker(*addresses) as broker:
        assert await hear_calls(broker.endpoint) == Calls(True, other)
    assert held() == before


class ScriptedBroker:
    """One connection's broker, that says what the test wants."""

    def __init__(self, listener: trio.SocketListener, answer: Message) -> None:
        self._listener = listener
        self._answer = answer

    async def serve(self) -> None:
        async with await self._listener.accept() as stream:
            channel = Channel(stream)
            endpoint = endpoint_of(stream.socket.getpeername())
            await channel.send(Hello(challenge=CHALLENGE), Observed(endpoint))
            while not isinstance(await channel.receive(), CallBack):
                pass
            await self.call(endpoint)
            await channel.send(self._answer)
            with pytest.raises(ChannelClosedError):  # the client closes in the end
                await channel.receive()

    async def call(self, endpoint: Endpoint) -> None:
        """Before the answer."""


class Stranger(ScriptedBroker):
    """Many callers with the wrong challenge, or none."""

    async def call(self, endpoint: Endpoint) -> None:
        said = [b"", b"\xc4", b"garbage", encode(Hello())]
        wrong = encode(Called(bytes(32), CallSource.SAME_ADDRESS))
        for data in [wrong, *said, wrong]:
            async with await trio.open_tcp_stream(*endpoint.sockaddr) as stream:
                await stream.send_all(data)


async def hear_from(broker: type[ScriptedBroker], answer: Message) -> Calls:
    with trio.fail_after(PATIENCE):
        (listener,) = await trio.open_tcp_listeners(0, host=HOST)
        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(broker(listener, answer).serve)
            endpoint = endpoint_of(listener.socket.getsockname())
            heard = await hear_calls(endpoint)
    return heard


@pytest.mark.parametrize("broker", [ScriptedBroker, Stranger])
async def test_connected_with_somebody_else_is_not_let_in(
    broker: type[ScriptedBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "GRACE_TIME", 0.05)
    answer = CalledBack(Outcome.CONNECTED, Outcome.SILENT)
    assert await hear_from(broker, answer) == Calls(False, False)


async def test_broker_that_calls_nobody() -> None:
    assert await hear_from(ScriptedBroker, CalledBack()) == Calls(None, None)


async def test_broker_that_says_something_else() -> None:
    with pytest.RaisesGroup(RemoteProtocolError):  # in the test's own nursery
        await hear_from(ScriptedBroker, Observed(Endpoint(NOBODYS_ADDRESS, 1)))


@pytest.mark.parametrize("what", ["nothing", "garbage"])
async def test_broker_that_breaks_off_is_left_out_of_a_survey(what: str) -> None:
    class Rude(ScriptedBroker):
        async def serve(self) -> None:
            while True:
                stream = await self._listener.accept()
                async with stream:
                    channel = Channel(stream)
                    endpoint = endpoint_of(stream.socket.getpeername())
                    await channel.send(Hello(challenge=CHALLENGE), Observed(endpoint))
                    with suppress(ChannelClosedError):
                        while not isinstance(await channel.receive(), CallBack):
                            pass
                        await stream.send_all(b"" if what == "nothing" else b"garbage")

    with trio.fail_after(PATIENCE):
        (listener,) = await trio.open_tcp_listeners(0, host=HOST)
        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(Rude(listener, KeepAlive()).serve)
            endpoint = endpoint_of(listener.socket.getsockname())
            nat = await survey_nat(endpoint, [endpoint])
            nursery.cancel_scope.cancel(reason="the test is over")
    assert (nat.mapping, nat.filtering) == (Behaviour.ENDPOINT_INDEPENDENT, None)


async def test_broker_without_descriptors_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    endpoint = endpoint_of(listener.socket.getsockname())
    async with listener, await trio.open_tcp_stream(*endpoint.sockaddr) as stream:
        monkeypatch.setattr(trio.socket, "socket", refuse)
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


async def test_so_many_callers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Crowd(ScriptedBroker):
        async def call(self, endpoint: Endpoint) -> None:
            streams.extend(
                [await trio.open_tcp_stream(*endpoint.sockaddr) for _ in range(2 * MAX_CALLERS)]
            )
            called = Called(CHALLENGE, CallSource.SAME_ADDRESS)
            await streams[-1].send_all(encode(called))

    monkeypatch.setattr(calls, "GRACE_TIME", 0.05)
    streams: list[trio.SocketStream] = []
    assert await hear_from(Crowd, CalledBack(Outcome.CONNECTED)) == Calls(False, None)
    for stream in streams:
        await stream.aclose()
