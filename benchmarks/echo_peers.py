"""The peers that this library connects, timed until the sender has an echo."""

from contextlib import suppress
from functools import partial

import trio

from trio_p2p import P2PError, P2PStream, open_peer, serve_broker, serve_p2p

from .roles import MESSAGE, PATIENCE, play

UID = "echo"


async def introduce(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    """The broker, with the second port that shows senders and receivers their NATs."""
    async with trio.open_nursery() as nursery:
        [listener, *_] = await nursery.start(partial(serve_broker, 0, host=host, probe_port=0))
        task_status.started(f"{host}:{listener.socket.getsockname()[1]}")


async def receive(_host: str, broker: str, *, task_status: trio.TaskStatus[str]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_p2p, _echo, UID, broker)
        task_status.started(UID)


async def seconds_to_echo(_host: str, broker: str, uid: str) -> float | None:
    started_at = trio.current_time()
    with trio.move_on_after(PATIENCE), suppress(P2PError, trio.BrokenResourceError):
        async with (
            open_peer(broker, techniques=["fast", "classic"]) as peer,
            await peer.open_stream(uid) as stream,
        ):
            await stream.send_all(MESSAGE)
            if await stream.receive_some(len(MESSAGE)) == MESSAGE:
                return trio.current_time() - started_at
    return None


async def _echo(stream: P2PStream) -> None:
    async for data in stream:
        await stream.send_all(data)


if __name__ == "__main__":
    play(introduce, receive, seconds_to_echo)
