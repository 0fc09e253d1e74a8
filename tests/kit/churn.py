"""Receivers that come and go, and senders, new and kept, that ask for them at a steady rate."""

import random
import ssl
import struct
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import count
from socket import SO_LINGER, SOL_SOCKET

import trio

from trio_p2p import Identity
from trio_p2p._addresses import endpoint_of
from trio_p2p._net.channel import ChannelClosedError
from trio_p2p._wire.messages import (
    Acknowledge,
    ConnectionRequest,
    Hello,
    HolePunched,
    JoinRelay,
    Kill,
    Message,
    ReceiverEndpoint,
    Refused,
    Registered,
    Relayed,
    RelayRequest,
    Watch,
)

from .raw_client import RawClient, registration, request

RECEIVERS = 40  # at a time
KEPT_SENDERS = 8
MAX_NEW_SENDERS = 30  # at a time
IDENTITIES = 16
CROWD = 120
LIFETIMES = 1.0, 8.0  # seconds, of receivers
RELAYED = b"relayed" * 1000
GONE = (ChannelClosedError, trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class Churn:
    """Clients of one broker that speaks TLS.

    Args:
        address: the broker's.
        token: what admits clients.
        rate: how many introductions to ask for each second, if this host can.

    Attributes:
        introduced: how many introductions of each technique were made.
        refused: how many requests for receivers that had just gone were refused.
    """

    def __init__(self, address: tuple[str, int], token: bytes, rate: float) -> None:
        self.introduced: Counter[str] = Counter()
        self.refused = 0
        self._address = address
        self._token = token
        self._rate = rate
        self._chance = random.Random("churn")
        self._identities = [Identity.generate() for _ in range(IDENTITIES)]
        self._uids: dict[int, str] = {}
        self._kept: list[RawClient] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    async def run(self) -> None:
        """Come, ask and go, until cancelled."""
        async with trio.open_nursery() as nursery:
            for place in range(RECEIVERS):
                nursery.start_soon(self._be_receivers, place)
            for _ in range(KEPT_SENDERS):
                await nursery.start(self._be_kept_sender)
            await self._ask_steadily()

    async def crowd(self) -> None:
        """Come with more clients at once than there will be, so that the broker takes memory."""
        is_full, waiting = trio.Event(), 0

        async def come() -> None:
            nonlocal waiting
            async with self._connected() as client:
                await self._greet(client)
                waiting += 1
                if waiting == CROWD:
                    is_full.set()
                await is_full.wait()

        async with trio.open_nursery() as nursery:
            for _ in range(CROWD):
                nursery.start_soon(come)

    async def _ask_steadily(self) -> None:
        limiter, next_at = trio.CapacityLimiter(MAX_NEW_SENDERS), trio.current_time()
        async with trio.open_nursery() as nursery:
            for turn in count():
                next_at = max(next_at + 1 / self._rate, trio.current_time())
                await trio.sleep_until(next_at)
                if not self._uids:
                    continue
                uid = self._chance.choice(list(self._uids.values()))
                if turn % 10 < 7:
                    sender = self._kept[turn % len(self._kept)]
                    await sender.send(request(turn, uid, "fast"), Watch(f"later {turn % 100}"))
                    continue
                technique = ("relay", "classic", "fast")[turn % 10 - 7]
                borrower = object()
                await limiter.acquire_on_behalf_of(borrower)
                nursery.start_soon(self._be_new_sender, uid, technique, limiter, borrower)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[RawClient]:
        """A client from any of some addresses, which leaves with or without a word."""
        source = f"127.0.{self._chance.randrange(1, 5)}.{self._chance.randrange(1, 10)}"
        transport = await trio.open_tcp_stream(*self._address, local_address=source)
        if self._chance.random() < 0.3:  # a reset in the end
            transport.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        stream = trio.SSLStream(transport, self._context)
        try:
            yield RawClient(stream)
        finally:
            transport.socket.close()

    async def _greet(self, client: RawClient, *messages: Message) -> bytes:
        await client.send(Hello(token=self._token), *messages)
        challenge = (await client.receive(Hello)).challenge
        assert challenge is not None
        return challenge

    # Receivers.

    async def _be_receivers(self, place: int) -> None:
        for number in count():
            with suppress(*GONE):
                await self._be_receiver(place, f"receiver {place} {number}")

    async def _be_receiver(self, place: int, uid: str) -> None:
        async with self._connected() as client, trio.open_nursery() as nursery:
            challenge = await self._greet(client)
            identity, broker = self._chance.choice(self._identities), endpoint_of(self._address)
            await client.send(registration(uid, challenge, identity, broker))
            await client.receive(Registered)
            self._uids[place] = uid
            nursery.start_soon(self._answer, client, nursery, uid)
            await trio.sleep(self._chance.uniform(*LIFETIMES))
            del self._uids[place]
            if self._chance.random() < 0.5:
                await client.send(Kill())
            nursery.cancel_scope.cancel(reason="the receiver goes")

    async def _answer(self, client: RawClient, nursery: trio.Nursery, uid: str) -> None:
        while True:
            try:
                message = await client.channel.receive()
            except ChannelClosedError:
                assert uid not in self._uids.values()  # or else the broker has dropped it
                return
            match message:
                case RelayRequest(introduction=introduction):
                    nursery.start_soon(self._join, introduction)
                case ConnectionRequest(introduction=introduction):
                    nursery.start_soon(self._acknowledge, introduction)
                case _:
                    pass

    async def _join(self, introduction: bytes) -> None:
        with suppress(*GONE):
            async with self._connected() as client:
                await self._greet(client, JoinRelay(introduction))
                if isinstance(await client.channel.receive(), Relayed):
                    stream, data = client.channel.detach()
                    while len(data) < len(RELAYED) and (more := await stream.receive_some()):
                        data += more
                    await stream.send_all(data)
                    await stream.receive_some()

    async def _acknowledge(self, introduction: bytes) -> None:
        for message in (Acknowledge(introduction), HolePunched(introduction)):
            with suppress(*GONE):
                async with self._connected() as client:
                    await self._greet(client, message)
                    await client.channel.receive()

    # Senders.

    async def _be_kept_sender(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with self._connected() as client:
            await self._greet(client)
            self._kept.append(client)
            task_status.started()
            while True:
                self._note(await client.channel.receive(), "kept")

    async def _be_new_sender(
        self, uid: str, technique: str, limiter: trio.CapacityLimiter, borrower: object
    ) -> None:
        with suppress(*GONE):
            async with self._connected() as client:
                await self._greet(client, request(0, uid, technique))
                answer = await client.channel.receive()
                if isinstance(answer, Relayed):
                    stream, data = client.channel.detach()
                    await stream.send_all(RELAYED)
                    while len(data) < len(RELAYED) and (more := await stream.receive_some()):
                        data += more
                    assert data in (RELAYED, RELAYED[: len(data)])
                self._note(answer, technique)
        limiter.release_on_behalf_of(borrower)

    def _note(self, answer: Message, technique: str) -> None:
        if isinstance(answer, ReceiverEndpoint | Relayed):
            self.introduced[technique] += 1
        else:
            assert isinstance(answer, Refused), answer
            self.refused += 1
