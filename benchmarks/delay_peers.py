"""The peers that are timed until the sender has its stream, in one way after the other."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from enum import StrEnum

import trio

from trio_p2p import P2PStream, open_peer

from .as_written import parse_endpoint
from .echo_peers import introduce
from .roles import play

ROUNDS = 15
RAW_UID = "raw"
ENCRYPTED_UID = "encrypted"


class Name(StrEnum):
    """Of a way to a stream, or of what is measured beside it."""

    BARE = "bare TCP handshake with the broker"
    FAST = "fast"
    ENCRYPTED = "fast, encrypted"
    WARM = "fast, by a registered peer"
    CLASSIC = "classic"


async def receive(_host: str, broker: str, *, task_status: trio.TaskStatus[str]) -> None:
    async def greet(stream: trio.abc.SendStream) -> None:
        with suppress(trio.BrokenResourceError):  # the first sender is gone at once
            await stream.send_all(b"!")

    async with (
        open_peer(broker) as peer,
        peer.listen_raw(RAW_UID) as listener,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(trio.serve_listeners, greet, [listener])
        await nursery.start(peer.serve, ENCRYPTED_UID, greet)
        task_status.started("ready")
        await trio.sleep_forever()


async def first_stream(broker: str) -> trio.SocketStream:
    """A stream that is opened before any is timed, as the first one costs more."""
    async with open_peer(broker, techniques=["fast"]) as peer:
        return await peer.open_raw_stream(RAW_UID)


async def seconds_to_open(_host: str, broker: str, _name: str) -> dict[str, list[float]]:
    """How long each way took in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in Name}

    async def time(
        name: Name, opening: AbstractAsyncContextManager[trio.abc.ReceiveStream]
    ) -> None:
        started_at = trio.current_time()
        async with opening as stream:
            seconds[name].append(trio.current_time() - started_at)
            assert await stream.receive_some(1) == b"!"

    async def time_bare() -> None:
        started_at = trio.current_time()
        async with await trio.open_tcp_stream(*parse_endpoint(broker).sockaddr):
            seconds[Name.BARE].append(trio.current_time() - started_at)

    @asynccontextmanager
    async def open_raw(technique: str) -> AsyncGenerator[trio.SocketStream]:
        async with (
            open_peer(broker, techniques=[technique]) as peer,
            await peer.open_raw_stream(RAW_UID) as stream,
        ):
            yield stream

    @asynccontextmanager
    async def open_encrypted() -> AsyncGenerator[P2PStream]:
        async with (
            open_peer(broker, techniques=["fast"]) as peer,
            await peer.open_stream(ENCRYPTED_UID) as stream,
        ):
            yield stream

    @asynccontextmanager
    async def open_by_registered() -> AsyncGenerator[
        AbstractAsyncContextManager[trio.SocketStream]
    ]:
        """A peer that listens, and its first stream, which is yet to be opened."""
        async with open_peer(broker, techniques=["fast"]) as peer, peer.listen_raw("sender"):

            @asynccontextmanager
            async def open_one() -> AsyncGenerator[trio.SocketStream]:
                async with await peer.open_raw_stream(RAW_UID) as stream:
                    yield stream

            yield open_one()

    await trio.aclose_forcefully(await first_stream(broker))
    for _ in range(ROUNDS):
        await time_bare()
        await time(Name.FAST, open_raw("fast"))
        await time(Name.ENCRYPTED, open_encrypted())
        async with open_by_registered() as opening:
            await time(Name.WARM, opening)
        await time(Name.CLASSIC, open_raw("classic"))
    return seconds


if __name__ == "__main__":
    play(introduce, receive, seconds_to_open)
