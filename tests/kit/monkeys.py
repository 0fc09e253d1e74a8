"""Clients of a broker that do whatever comes into their heads, the same in every run."""

import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from ipaddress import IPv4Address
from typing import Any

import attrs
import trio

from trio_p2p._addresses import Endpoint
from trio_p2p._attempt import Outcome, Technique
from trio_p2p._errors import RemoteProtocolError
from trio_p2p._identity.identity import Identity
from trio_p2p._net.channel import ChannelClosedError
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import (
    MESSAGE_TYPES,
    Acknowledge,
    CallBack,
    CallSource,
    ConnectionRequest,
    Decline,
    Hello,
    HolePunched,
    JoinRelay,
    KeepAlive,
    Kill,
    Message,
    Probe,
    RefusalCode,
    RelayRequest,
    SenderEndpoint,
    StreamKind,
    Unregister,
    Watch,
)
from trio_p2p._wire.offer import Behaviour, Candidate, CandidateKind, Offer

from .loopback import HOST, crash
from .raw_client import RawClient, identity_of, registration, request

TECHNIQUES = ("fast", "classic", "relay")
PATIENCE = 1.0  # seconds that one act takes at most
FLOOD = 200  # messages


@cache
def identities() -> list[Identity]:
    return [identity_of(f"monkey {number}") for number in range(5)]


class Monkey:
    """One of them, with an address of its own.

    Args:
        number: which one.
        address: of the broker.
        uids: what it registers and asks for.
        seed: of all that it does.
    """

    def __init__(self, number: int, address: tuple[str, int], uids: list[str], seed: int) -> None:
        self.host = f"127.0.0.{number + 2}"
        self.acts = 0
        self._address = address
        self._uids = uids
        self._random = random.Random(f"{seed} {number}")
        self._introductions = [bytes(16)]  # which it has heard of
        self._nonces = [bytes(32)]

    async def play(self) -> None:
        """Do one thing after the other."""
        kinds: list[Callable[[RawClient], Awaitable[None]]] = [
            self._say_anything,
            self._say_anything,
            self._be_a_receiver,
            self._be_a_receiver,
            self._be_a_peer,
            self._be_a_peer,
            self._be_a_sender,
            self._flood,
            self._never_read,
            self._stop_in_mid_frame,
            self._answer_anything,
            self._leave,
        ]
        while True:
            with trio.move_on_after(PATIENCE), suppress(OSError, trio.BrokenResourceError):
                stream = await trio.open_tcp_stream(*self._address, local_address=self.host)
                with suppress(ChannelClosedError, RemoteProtocolError):
                    await self._act(RawClient(stream), self._random.choice(kinds))
            self.acts += 1
            await trio.sleep(self._random.uniform(0, 0.05))

    async def _act(self, client: RawClient, kind: Callable[[RawClient], Awaitable[None]]) -> None:
        stream = client.stream
        assert isinstance(stream, trio.SocketStream)
        if self._random.random() < 0.3:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await kind(client)
        finally:
            if self._random.random() < 0.5:
                crash(stream)
            else:
                stream.socket.close()

    # What they do.

    async def _say_anything(self, client: RawClient) -> None:
        await client.send(Hello())
        for _ in range(self._random.randrange(20)):
            if self._random.random() < 0.1:
                await client.stream.send_all(self._random.randbytes(self._random.randrange(1, 300)))
            else:
                await client.send(self._message())
            await self._read_some(client)

    async def _be_a_receiver(self, client: RawClient) -> None:
        await self._register(client)
        for _ in range(self._random.randrange(50)):
            await self._read_some(client)
            await client.send(KeepAlive() if self._random.random() < 0.5 else self._decline())

    async def _be_a_peer(self, client: RawClient) -> None:
        """Register several names, give some back, ask and watch, all over one connection."""
        challenge = await client.greet()
        for number in range(self._random.randrange(30)):
            messages = [
                self._registration(challenge, self._random.randrange(number + 1)),
                self._registration(challenge, number),
                Unregister(self._random.randrange(number + 1)),
                Watch(self._uid(), number),
                self._request(number),
                self._decline(),
                KeepAlive(),
            ]
            await client.send(self._random.choice(messages))
            await self._read_some(client)
        if self._random.random() < 0.3:
            await client.send(Kill())

    async def _be_a_sender(self, client: RawClient) -> None:
        await client.greet()
        for number in range(self._random.randrange(10)):
            await client.send(Watch(self._uid()), self._request(number))
            await self._read_some(client)

    async def _flood(self, client: RawClient) -> None:
        await client.send(Hello())
        if self._random.random() < 0.3:
            await self._register(client)
        await client.stream.send_all(encode(self._message()) * FLOOD)

    async def _never_read(self, client: RawClient) -> None:
        await self._register(client)
        while True:
            await client.send(KeepAlive())
            await trio.sleep(0.1)

    async def _stop_in_mid_frame(self, client: RawClient) -> None:
        data = encode(Hello()) + encode(self._message())
        await client.stream.send_all(data[: self._random.randrange(len(data))])
        if self._random.random() < 0.3:
            await trio.sleep_forever()

    async def _answer_anything(self, client: RawClient) -> None:
        kind = self._random.choice([JoinRelay, JoinRelay, Acknowledge, HolePunched])
        await client.send(Hello(), kind(self._random.choice(self._introductions[-5:])))
        await client.stream.send_all(self._random.randbytes(self._random.randrange(1, 50_000)))
        await self._read_some(client)

    async def _leave(self, client: RawClient) -> None:
        messages: list[list[Message]] = [
            [],
            [Hello()],
            [Hello(), Probe()],
            [Hello(), Probe(), CallBack()],
            [Hello(), Kill()],
        ]
        await client.send(*self._random.choice(messages))
        await self._read_some(client)

    # What they say.

    async def _register(self, client: RawClient) -> None:
        await client.send(self._registration(await client.greet(), 0))

    def _registration(self, challenge: bytes, number: int) -> Message:
        uid = self._uid()
        known = identities()
        # Mostly the same one for a UID, or else it would be taken nearly always.
        usual = known[self._uids.index(uid) % len(known)]
        identity = usual if self._random.random() < 0.9 else self._random.choice(known)
        broker = Endpoint(IPv4Address(HOST), self._address[1])
        return registration(
            uid,
            challenge,
            identity,
            broker,
            number=number,
            stream=self._random.choice(list(StreamKind)),
            instance=self._random.randrange(2),
        )

    async def _read_some(self, client: RawClient) -> None:
        with trio.move_on_after(self._random.uniform(0, 0.02)):
            while True:
                match await client.channel.receive():
                    case ConnectionRequest() | RelayRequest() as asked:
                        self._introductions.append(asked.introduction)
                    case SenderEndpoint(nonce=nonce):
                        self._nonces.append(nonce)
                    case _:
                        pass

    def _uid(self) -> str:
        return self._random.choice(self._uids)

    def _request(self, number: int) -> Message:
        technique = self._random.choice(TECHNIQUES)
        asking = request(number, self._uid(), technique, identity=self._random.choice(identities()))
        return attrs.evolve(asking, offer=self._offer())

    def _decline(self) -> Message:
        if self._random.random() < 0.5:
            return Decline(self._random.choice(self._introductions[-5:]))
        return Decline(nonce=self._random.choice(self._nonces[-5:]))

    def _offer(self) -> Offer:
        candidates = [Candidate(CandidateKind.HOST, self._endpoint())] * self._random.randrange(4)
        return Offer(candidates=tuple(candidates), port_guessing=self._random.random() < 0.5)

    def _endpoint(self) -> Endpoint:
        return Endpoint(IPv4Address(self._random.randbytes(4)), self._random.randrange(1, 65536))

    def _message(self) -> Message:
        """Any valid message, also one that no client says."""
        if self._random.random() < 0.3:
            return self._request(0)
        cls = self._random.choice(MESSAGE_TYPES)
        message: Message = cls(**{each.name: self._value(each) for each in attrs.fields(cls)})
        return message

    def _value(self, field: Any) -> Any:
        if field.default is not attrs.NOTHING and self._random.random() < 0.5:
            return field.default
        values: dict[str, Callable[[], Any]] = {
            "uid": self._uid,
            "endpoint": self._endpoint,
            "broker": self._endpoint,
            "certificate": lambda: self._random.choice(identities()).certificate,
            "signature": lambda: self._random.randbytes(64),
            "proof": lambda: self._random.randbytes(64),
            "challenge": lambda: self._random.randbytes(32),
            "nonce": lambda: self._random.choice(self._nonces),
            "introduction": lambda: self._random.choice(self._introductions),
            "circuit": lambda: self._random.randbytes(16),
            "search": lambda: self._random.randbytes(16),
            "origin": lambda: self._random.randbytes(8),
            "technique": lambda: self._random.choice([*TECHNIQUES, "telepathy"]),
            "stream": lambda: self._random.choice(list(StreamKind)),
            "code": lambda: self._random.choice(list(RefusalCode)),
            "source": lambda: self._random.choice(list(CallSource)),
            "same_address": lambda: self._random.choice(list(Outcome)),
            "other_address": lambda: self._random.choice(list(Outcome)),
            "capabilities": lambda: (*TECHNIQUES, "telepathy"),
            "probes": lambda: (self._endpoint(),),
            "brokers": lambda: (str(self._endpoint()),),
            "token": lambda: self._random.randbytes(64),
            "wants_proof": lambda: True,
            "connected_by": lambda: self._random.choice(list(Technique)),
            "mapping": lambda: self._random.choice(list(Behaviour)),
            "peer_mapping": lambda: self._random.choice(list(Behaviour)),
            "offer": self._offer,
            "reason": lambda: "because",
            "instance": lambda: self._random.randbytes(16),
        }
        return values.get(field.name, lambda: self._random.randrange(1, 1000))()
