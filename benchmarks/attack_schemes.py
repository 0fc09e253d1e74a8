"""Attacks that follow the protocol: they register, ask and are relayed, and mean no good by it.

Each does as much whatever listens: what does not answer in time counts as if it had.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from itertools import count, cycle, islice

import attrs
import trio

from trio_p2p import Identity
from trio_p2p._addresses import Endpoint
from trio_p2p._net.channel import Channel, ChannelClosedError
from trio_p2p._wire.messages import (
    CHALLENGE_BYTES,
    INSTANCE_BYTES,
    Hello,
    IntroductionRequest,
    JoinRelay,
    Kill,
    Register,
    RelayRequest,
    StreamKind,
    Unwatch,
    Watch,
)

from .attack_networks import IPV4_24, IPV6_64, ONE_ADDRESS, Network

CONNECTIONS = 20  # or one from each address, if there are more
NAMES = 64  # that a connection may register
CIRCUITS = 128
ANSWER_TIME = 0.2  # seconds
PAUSE = 0.1  # seconds after a connection that was closed
_INSTANCE = bytes(INSTANCE_BYTES)
_PIECE = bytes(65_536)
_GONE = (OSError, ChannelClosedError, trio.BrokenResourceError, trio.ClosedResourceError)


class Attacker:
    """One that attacks a broker.

    Args:
        network: where both are.
        port: the broker's.
    """

    def __init__(self, network: Network, port: int) -> None:
        self._broker = Endpoint(ip_address(network.broker), port)
        self._addresses = network.attackers
        self._identity = Identity.generate()
        self._numbers = count()

    async def squat(self) -> None:
        """Register as many UIDs as the addresses may have."""
        await self._do_on_many(self._squat)

    async def register_again_and_again(self) -> None:
        """Register, leave, and come again."""
        await self._do_on_many(self._register_once)

    async def watch_again_and_again(self) -> None:
        """Watch UIDs, cease to, leave, and come again."""
        await self._do_on_many(self._watch_once)

    async def stall_circuits(self) -> None:
        """Be relayed, and say nothing."""
        await self._hold_circuits(self._say_nothing)

    async def fill_circuits(self) -> None:
        """Be relayed, say as much as is taken, and read nothing."""
        await self._hold_circuits(self._say_much)

    async def _do_on_many(self, act: Callable[[Channel], Awaitable[object]]) -> None:
        connections = max(CONNECTIONS, len(self._addresses))
        async with trio.open_nursery() as nursery:
            for address in islice(cycle(self._addresses), connections):
                nursery.start_soon(self._again_and_again, act, address)

    async def _again_and_again(
        self, act: Callable[[Channel], Awaitable[object]], address: str
    ) -> None:
        while True:
            with suppress(*_GONE):
                async with self._connected(address) as channel:
                    await act(channel)
                    continue
            await trio.sleep(PAUSE)

    @asynccontextmanager
    async def _connected(self, address: str) -> AsyncGenerator[Channel]:
        stream = await trio.open_tcp_stream(
            str(self._broker.address), self._broker.port, local_address=address
        )
        try:
            yield Channel(stream)
        finally:
            stream.socket.close()

    async def _greet(self, channel: Channel) -> bytes:
        """Greet; the challenge, or some zeros in its place."""
        await channel.send(Hello())
        with trio.move_on_after(ANSWER_TIME):
            greeting = await channel.receive()
            if isinstance(greeting, Hello) and greeting.challenge is not None:
                return greeting.challenge
        return bytes(CHALLENGE_BYTES)

    def _registration(self, challenge: bytes, number: int, uid: str) -> Register:
        signature = self._identity.sign_registration(challenge, self._broker, uid)
        return Register(
            number,
            uid,
            StreamKind.SESSION,
            _INSTANCE,
            self._broker,
            self._identity.certificate,
            signature,
        )

    async def _squat(self, channel: Channel) -> None:
        challenge = await self._greet(channel)
        for number in range(NAMES):
            uid = f"squatted {next(self._numbers)}"
            await channel.send(self._registration(challenge, number, uid))
        while True:
            await channel.receive()

    async def _register_once(self, channel: Channel) -> None:
        challenge = await self._greet(channel)
        uid = f"again {next(self._numbers) % NAMES}"
        await channel.send(self._registration(challenge, 0, uid))
        with trio.move_on_after(ANSWER_TIME):
            await channel.receive()
        await channel.send(Kill())

    async def _watch_once(self, channel: Channel) -> None:
        await self._greet(channel)
        uids = [f"{number}" for number in range(NAMES)]
        await channel.send(*(Watch(uid, number) for number, uid in enumerate(uids)))
        await channel.send(*map(Unwatch, uids))

    async def _hold_circuits(self, talk: Callable[[trio.abc.Stream], Awaitable[object]]) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(CIRCUITS):
                nursery.start_soon(self._ask_for_circuit, talk)
            async with self._connected(self._addresses[0]) as receiver:
                challenge = await self._greet(receiver)
                await receiver.send(self._registration(challenge, 0, "accomplice"))
                while True:
                    message = await receiver.receive()
                    if isinstance(message, RelayRequest):
                        nursery.start_soon(self._join, message.introduction, talk)

    async def _ask_for_circuit(self, talk: Callable[[trio.abc.Stream], Awaitable[object]]) -> None:
        certificate = self._identity.certificate
        request = IntroductionRequest(0, "accomplice", "relay", StreamKind.SESSION, certificate)
        while True:
            with suppress(*_GONE):
                async with self._connected(self._addresses[0]) as channel:
                    await self._greet(channel)
                    await channel.send(request)
                    with trio.move_on_after(ANSWER_TIME):
                        await channel.receive()
                    await talk(channel.stream)
            await trio.sleep(PAUSE)

    async def _join(
        self, introduction: bytes, talk: Callable[[trio.abc.Stream], Awaitable[object]]
    ) -> None:
        with suppress(*_GONE):
            async with self._connected(self._addresses[0]) as channel:
                await self._greet(channel)
                await channel.send(JoinRelay(introduction))
                await channel.receive()
                await talk(channel.stream)

    async def _say_nothing(self, stream: trio.abc.Stream) -> None:
        await stream.receive_some()

    async def _say_much(self, stream: trio.abc.Stream) -> None:
        while True:
            await stream.send_all(_PIECE)


@attrs.frozen
class Scheme:
    """What attackers do, and where.

    Attributes:
        follow: what they do.
        network: from where.
    """

    follow: Callable[[Attacker], Awaitable[None]]
    network: Network = ONE_ADDRESS


SCHEMES = {
    "squatting from one address": Scheme(Attacker.squat),
    "squatting from a /24": Scheme(Attacker.squat, IPV4_24),
    "squatting from an IPv6 /64": Scheme(Attacker.squat, IPV6_64),
    "receivers that register in a loop": Scheme(Attacker.register_again_and_again),
    "watchers that watch in a loop": Scheme(Attacker.watch_again_and_again),
    "stalled circuits": Scheme(Attacker.stall_circuits),
    "full circuits": Scheme(Attacker.fill_circuits),
}
