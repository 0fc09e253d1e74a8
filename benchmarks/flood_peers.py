"""The receiver that is flooded, and the attackers: each is a process of its own.

The receiver prints a line when it is registered; when its input ends, it prints how often it was,
and how many introductions it has seen. The attackers print a line when they have
begun, and end when their input does.
"""

import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import trio

from trio_p2p import P2PStream, open_p2p_listener
from trio_p2p._identity.identity import Identity
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import Hello, IntroductionRequest, StreamKind

UID = "flooded"
ATTACKERS = 8  # each with an address of its own
REQUESTS_PER_SECOND = 20.0
CIRCUITS = 32  # that each attacker asks for at a time
PAUSE = 0.1  # seconds after a connection that was closed

_HOST = "127.0.0.1"
_PIECE_BYTES = 65_536
_BURST = 100  # requests

Talk: TypeAlias = Callable[[trio.SocketStream], Awaitable[None]]


async def receive(port: int) -> None:
    async with open_p2p_listener(UID, (_HOST, port)) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, _echo, [listener])
        print(flush=True)
        await trio.lowlevel.wait_readable(sys.stdin)
        statistics = listener.statistics()
        print(statistics.registrations, statistics.introductions, flush=True)
        nursery.cancel_scope.cancel(reason="the benchmark is over")


async def _echo(stream: P2PStream) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


class Attacker:
    """One address that floods, with an identity that it never proves to have.

    Args:
        number: which one.
        port: the broker's.
    """

    def __init__(self, number: int, port: int) -> None:
        self._host = f"127.0.0.{number + 2}"
        self._port = port
        self._certificate = Identity.generate().certificate

    async def requests(self) -> None:
        """Ask for the receiver as fast as the broker reads."""
        await self._talk_again_and_again(partial(self._ask, burst=_BURST, pause=0))

    async def slots(self) -> None:
        """Ask for the receiver steadily, and never come."""
        await self._talk_again_and_again(partial(self._ask, burst=1, pause=1 / REQUESTS_PER_SECOND))

    async def circuits(self) -> None:
        """Ask for the relay over many connections, and say nothing on any."""
        async with trio.open_nursery() as nursery:
            for _ in range(CIRCUITS):
                nursery.start_soon(self._talk_again_and_again, self._hold_circuit)

    async def _hold_circuit(self, stream: trio.SocketStream) -> None:
        await stream.send_all(self._request(0, "relay"))
        await trio.sleep_forever()

    async def _ask(self, stream: trio.SocketStream, burst: int, pause: float) -> None:
        number = 0
        while True:
            requests = (self._request(number + more, "fast") for more in range(burst))
            await stream.send_all(b"".join(requests))
            number += burst
            await trio.sleep(pause)

    def _request(self, number: int, technique: str) -> bytes:
        return encode(
            IntroductionRequest(number, UID, technique, StreamKind.SESSION, self._certificate)
        )

    async def _talk_again_and_again(self, talk: Talk) -> None:
        """Talk over one connection after the other, each until the broker closes it."""
        while True:
            with suppress(OSError, trio.BrokenResourceError):
                stream = await trio.open_tcp_stream(_HOST, self._port, local_address=self._host)
                async with stream:
                    await self._talk(stream, talk)
            await trio.sleep(PAUSE)

    async def _talk(self, stream: trio.SocketStream, talk: Talk) -> None:
        await stream.send_all(encode(Hello()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, stream, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError):
                await talk(stream)

    async def _read(self, stream: trio.SocketStream, cancel_scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError):
            while await stream.receive_some(_PIECE_BYTES):
                pass
        cancel_scope.cancel(reason="the broker has closed the connection")


async def attack(kind: str, port: int) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(ATTACKERS):
            nursery.start_soon(getattr(Attacker(number, port), kind))
        print(flush=True)
        await trio.lowlevel.wait_readable(sys.stdin)
        nursery.cancel_scope.cancel(reason="the benchmark goes on without us")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["receiver", port]:
            trio.run(receive, int(port))
        case ["attacker", kind, port]:
            trio.run(attack, kind, int(port))
