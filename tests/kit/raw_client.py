"""A client that says to a broker what it likes, valid or not, over any stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from ipaddress import IPv4Address
from typing import TypeVar

import trio
import trio.testing

from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._broker.server import Broker
from trio_p2p._identity.identity import Identity
from trio_p2p._net.channel import Channel, ChannelClosedError
from trio_p2p._wire.messages import (
    INSTANCE_BYTES,
    Hello,
    Identify,
    IntroductionRequest,
    Message,
    Refused,
    Register,
    Registered,
    StreamKind,
)

M = TypeVar("M")

BROKER = Endpoint(IPv4Address("127.0.0.1"), 4433)  # where clients say that they have connected to


@cache
def identity_of(name: str) -> Identity:
    """The identity of whoever has this name in a test: always the same one."""
    return Identity.generate()


def registration(
    uid: str,
    challenge: bytes,
    identity: Identity | None = None,
    broker: Endpoint = BROKER,
    *,
    number: int = 0,
    stream: StreamKind = StreamKind.SESSION,
    instance: int = 0,
) -> Register:
    """A valid registration, of the identity that has the UID as its name if none is given."""
    identity = identity or identity_of(uid)
    signature = identity.sign_registration(challenge, broker, uid)
    drawn = instance.to_bytes(INSTANCE_BYTES, "big")
    return Register(number, uid, stream, drawn, broker, identity.certificate, signature)


def identification(identity: Identity, challenge: bytes, broker: Endpoint = BROKER) -> Identify:
    """A valid proof of an identity."""
    signature = identity.sign_identification(challenge, broker)
    return Identify(broker, identity.certificate, signature)


def request(
    number: int,
    uid: str,
    technique: str,
    stream: StreamKind = StreamKind.SESSION,
    identity: Identity | None = None,
) -> IntroductionRequest:
    """A sender's request."""
    certificate = (identity or identity_of("sender")).certificate
    return IntroductionRequest(number, uid, technique, stream, certificate)


class RawClient(trio.abc.AsyncResource):
    """One connection to a broker, message by message."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.channel = Channel(stream)

    async def send(self, *messages: Message) -> None:
        await self.channel.send(*messages)

    async def receive(self, kind: type[M]) -> M:
        message = await self.channel.receive()
        assert isinstance(message, kind), message
        return message

    async def greet(self) -> bytes:
        """Say hello; the broker's challenge."""
        await self.send(Hello())
        challenge = (await self.receive(Hello)).challenge
        assert challenge is not None
        return challenge

    async def register(
        self,
        uid: str,
        identity: Identity | None = None,
        *,
        stream: StreamKind = StreamKind.SESSION,
    ) -> Registered:
        """Register, as the identity that has the UID as its name if none is given."""
        broker = BROKER
        if isinstance(self.stream, trio.SocketStream):
            broker = endpoint_of(self.stream.socket.getpeername())
        await self.send(registration(uid, await self.greet(), identity, broker, stream=stream))
        return await self.receive(Registered)

    async def ask(self, uid: str, technique: str, number: int = 0) -> None:
        await self.send(request(number, uid, technique))

    async def wait_refused(self) -> Refused:
        """The refusal that comes next."""
        return await self.receive(Refused)

    async def wait_closed(self) -> list[Message]:
        """What came before the broker closed the connection."""
        messages: list[Message] = []
        try:
            while True:
                messages.append(await self.channel.receive())
        except ChannelClosedError:
            return messages

    async def aclose(self) -> None:
        await self.channel.aclose()


class MemoryBroker:
    """A broker that clients reach over memory streams, each from a made-up endpoint."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.broker = Broker()
        self.clients = 0
        self.served = 0
        self._nursery = self.broker.writers = nursery

    @property
    def uids(self) -> frozenset[str]:
        return self.broker.registry.uids

    def connect(self, *, lockstep: bool = False) -> RawClient:
        """A client; over a stream without any buffer if lockstep."""
        ours: trio.abc.Stream
        theirs: trio.abc.Stream
        if lockstep:
            ours, theirs = trio.testing.lockstep_stream_pair()
        else:
            ours, theirs = trio.testing.memory_stream_pair()
        self.clients += 1
        endpoint = Endpoint(IPv4Address("203.0.113.1") + self.clients, 40000)
        self._nursery.start_soon(self._serve, theirs, endpoint)
        return RawClient(ours)

    async def _serve(self, stream: trio.abc.Stream, endpoint: Endpoint) -> None:
        connection = self.broker.registry.connected(endpoint, BROKER, trio.current_time())
        await self.broker.serve(stream, connection)
        self.served += 1


@asynccontextmanager
async def open_memory_broker() -> AsyncIterator[MemoryBroker]:
    """A broker that is cancelled in the end."""
    async with trio.open_nursery() as nursery:
        yield MemoryBroker(nursery)
        nursery.cancel_scope.cancel(reason="the test is over")
