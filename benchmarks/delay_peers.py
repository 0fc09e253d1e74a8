"""The peers that are timed until the sender has its stream, in one way after the other."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from enum import StrEnum

import trio

from trio_p2p import P2PStream, open_peer

from .as_written import parse_endpoint
from .echo_peers import introduce
from .roles import play

# A kept connection to the broker serves each UID once, so every round has its own.
ROUNDS = 15
UIDS = [f"receiver {number}" for number in range(ROUNDS + 1)]
ENCRYPTED_UID = "encrypted"


class Name(StrEnum):
    """Of a way to a stream, or of what is measured beside it."""

    BARE = "bare TCP handshake with the broker"
    FAST = "fast"
    ENCRYPTED = "fast, encrypted"
    WARM = "fast, broker connection kept"
    CLASSIC = "classic"


async def receive(_host: str, broker: str, *, task_status: trio.TaskStatus[str]) -> None:
    async def greet(stream: trio.abc.SendStream) -> None:
        with suppress(trio.BrokenResourceError):  # the first sender is gone at once
            await stream.send_all(b"!")

    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(open_peer(broker))
        nursery = await stack.enter_async_context(trio.open_nursery())
        listeners = [await stack.enter_async_context(peer.listen_raw(uid)) for uid in UIDS]
        nursery.start_soon(trio.serve_listeners, greet, listeners)
        await nursery.start(peer.serve, ENCRYPTED_UID, greet)
        task_status.started("ready")
        await trio.sleep_forever()


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

    @asynccontextmanager
    async def open_warm(uid: str) -> AsyncGenerator[trio.SocketStream]:
        async with await sender.open_raw_stream(uid) as stream:
            yield stream

    async def time_bare() -> None:
        started_at = trio.current_time()
        async with await trio.open_tcp_stream(*parse_endpoint(broker).sockaddr):
            seconds[Name.BARE].append(trio.current_time() - started_at)

    @asynccontextmanager
    async def open_raw(uid: str, technique: str) -> AsyncGenerator[trio.SocketStream]:
        async with (
            open_peer(broker, techniques=[technique]) as peer,
            await peer.open_raw_stream(uid) as stream,
        ):
            yield stream

    @asynccontextmanager
    async def open_encrypted() -> AsyncGenerator[P2PStream]:
        async with (
            open_peer(broker, techniques=["fast"]) as peer,
            await peer.open_stream(ENCRYPTED_UID) as stream,
        ):
            yield stream

    first, *others = UIDS
    async with open_peer(broker, techniques=["fast"]) as sender:
        await trio.aclose_forcefully(await sender.open_raw_stream(first))
        for uid in others:
            await time_bare()
            await time(Name.FAST, open_raw(uid, "fast"))
            await time(Name.ENCRYPTED, open_encrypted())
            await time(Name.WARM, open_warm(uid))
            await time(Name.CLASSIC, open_raw(uid, "classic"))
    return seconds


if __name__ == "__main__":
    play(introduce, receive, seconds_to_open)
