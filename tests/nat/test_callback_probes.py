"""What a client hears that asks the broker to be called back; over loopback."""

from contextlib import suppress
from ipaddress import IPv4Address

import pytest
import trio

from trio_p2p import Endpoint, Outcome, RemoteProtocolError
from trio_p2p._addresses import endpoint_of
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
)
from trio_p2p._wire.offer import Behaviour

from ..kit.loopback import HOST, PATIENCE, held
from ..kit.loopback_probes import ANOTHER_ADDRESS, open_probed_broker

NOBODYS_ADDRESS = IPv4Address("203.0.113.99")
CHALLENGE = b"c" * 32


async def hear_calls(endpoint: Endpoint) -> Calls:
    """What a client hears that asks there to be called back."""
    observed: list[Endpoint] = []
    async with await connect_to_broker([endpoint], ()) as connection:
        heard = await receive_calls(connection, observed.append)
        assert observed == [connection.local]
        return heard


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
