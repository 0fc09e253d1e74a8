"""Attacks that follow the protocol: they register, ask and are relayed, and mean no good by it.

Each does as much whatever listens: what does not answer in time counts as if it had.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count

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

from .attack_floods import ADDRESS, HOST

NETWORK = [f"127.0.3.{number}" for number in range(1, 255)]  # a /24
CONNECTIONS = 20
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
        port: the broker's.
    """

    def __init__(self, port: int) -> None:
        self._broker = Endpoint(HOST, port)
        self._identity = Identity.generate()
        self._numbers = count()

    async def squat(self) -> None:
        """Register as many UIDs as one address may have."""
        await self._do_on(CONNECTIONS, self._squat)

    async def squat_from_network(self) -> None:
        """Register as many UIDs as a /24 may have."""
        async with trio.open_nursery() as nursery:
            for address in NETWORK:
                nursery.start_soon(self._again_and_again, self._squat, address)

    async def register_again_and_again(self) -> None:
        """Register, leave, and come again."""
        await self._do_on(CONNECTIONS, self._register_once)

    async def watch_again_and_again(self) -> None:
        """Watch UIDs, cease to, leave, and come again."""
        await self._do_on(CONNECTIONS, self._watch_once)

    async def stall_circuits(self) -> None:
        """Be relayed, and say nothing."""
        await self._hold_circuits(self._say_nothing)

    async def fill_circuits(self) -> None:
        """Be relayed, say as much as is taken, and read nothing."""
        await self._hold_circuits(self._say_much)

    async def _do_on(self, connections: int, act: Callable[[Channel], Awaitable[object]]) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(connections):
                nursery.start_soon(self._again_and_again, act, ADDRESS)

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
            async with self._connected(ADDRESS) as receiver:
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
                async with self._connected(ADDRESS) as channel:
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
            async with self._connected(ADDRESS) as channel:
                await self._greet(channel)
                await channel.send(JoinRelay(introduction))
                await channel.receive()
                await talk(channel.stream)

    async def _say_nothing(self, stream: trio.abc.Stream) -> None:
        await stream.receive_some()

    async def _say_much(self, stream: trio.abc.Stream) -> None:
        while True:
            await stream.send_all(_PIECE)


SCHEMES: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    "squatting from one address": Attacker.squat,
    "squatting from a /24": Attacker.squat_from_network,
    "receivers that register in a loop": Attacker.register_again_and_again,
    "watchers that watch in a loop": Attacker.watch_again_and_again,
    "stalled circuits": Attacker.stall_circuits,
    "full circuits": Attacker.fill_circuits,
}
