"""What is at a broker's address, and follows a script."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeAlias

import trio

from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._net.channel import ChannelClosedError
from trio_p2p._wire.messages import Hello, Register, Registered

from .hostile import GREETING
from .loopback import HOST
from .raw_client import RawClient

Script: TypeAlias = Callable[[RawClient], Awaitable[object]]


@asynccontextmanager
async def open_fake_broker(script: Script) -> AsyncGenerator[tuple[str, int]]:
    """A broker that follows a script on each connection, and then waits."""

    async def serve(stream: trio.SocketStream) -> None:
        client = RawClient(stream)
        with suppress(ChannelClosedError, trio.BrokenResourceError, trio.ClosedResourceError):
            await script(client)
            await client.wait_closed()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host=HOST))
        yield listeners[0].socket.getsockname()
        nursery.cancel_scope.cancel(reason="the test is over")


async def register_client(client: RawClient, seen_at: Endpoint | None = None) -> Register:
    """Register a client, which is seen where it is unless something else is said."""
    await client.receive(Hello)
    await client.send(GREETING)
    register = await client.receive(Register)
    assert isinstance(client.stream, trio.SocketStream)
    seen = seen_at or endpoint_of(client.stream.socket.getpeername())
    await client.send(Registered(register.number, seen))
    return register
