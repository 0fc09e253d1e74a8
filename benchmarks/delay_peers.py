"""The peers that are timed until the sender has its stream, in one way after the other."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import StrEnum
from functools import partial

import trio

from trio_p2p import open_p2p_sender, open_p2p_stream, serve_p2p

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
        await stream.send_all(b"!")

    async with trio.open_nursery() as nursery:
        for uid in UIDS:
            await nursery.start(partial(serve_p2p, greet, uid, broker, raw=True))
        await nursery.start(partial(serve_p2p, greet, ENCRYPTED_UID, broker))
        task_status.started("ready")


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
        async with await sender.open_stream(uid, raw=True) as stream:
            yield stream

    async def time_bare() -> None:
        started_at = trio.current_time()
        async with await trio.open_tcp_stream(*parse_endpoint(broker).sockaddr):
            seconds[Name.BARE].append(trio.current_time() - started_at)

    def open_raw(uid: str, technique: str) -> AbstractAsyncContextManager[trio.SocketStream]:
        return open_p2p_stream(uid, broker, raw=True, techniques=[technique])

    first, *others = UIDS
    async with open_p2p_sender(broker, techniques=["fast"]) as sender:
        await trio.aclose_forcefully(await sender.open_stream(first, raw=True))
        for uid in others:
            await time_bare()
            await time(Name.FAST, open_raw(uid, "fast"))
            encrypted = open_p2p_stream(ENCRYPTED_UID, broker, techniques=["fast"])
            await time(Name.ENCRYPTED, encrypted)
            await time(Name.WARM, open_warm(uid))
            await time(Name.CLASSIC, open_raw(uid, "classic"))
    return seconds


if __name__ == "__main__":
    play(introduce, receive, seconds_to_open)
