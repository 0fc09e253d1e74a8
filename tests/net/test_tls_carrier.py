"""What is said in TLS comes out of a plain socket, and the other way round."""

from __future__ import annotations

import ssl
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from trio_p2p._net.tls_carrier import PASSES_ENDS_OF_TCP, TLSStream, carry, open_socket_pair

from ..kit.certificates import Authority
from ..kit.loopback import PATIENCE

pytestmark = pytest.mark.once


@attrs.frozen
class Ends:
    """What is carried, from end to end."""

    client: TLSStream
    plain: trio.SocketStream
    carrying: trio.CancelScope
    over: trio.Event


@asynccontextmanager
async def carried(directory: Path) -> AsyncGenerator[Ends]:
    authority = Authority(directory)
    context = authority.issue("broker.example.org").read()
    trusting = ssl.create_default_context(cafile=authority.file)
    trusting.options |= PASSES_ENDS_OF_TCP
    near, far = open_socket_pair()
    client = trio.SSLStream(near, trusting, server_hostname="broker.example.org")
    server = trio.SSLStream(far, context, server_side=True)
    plain, inner = open_socket_pair()
    scope, over = trio.CancelScope(), trio.Event()

    async def run() -> None:
        with scope:
            await carry(server, inner)
        over.set()

    held = weakref.ref(server._ssl_object)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.do_handshake)
            await server.do_handshake()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield Ends(client, plain, scope, over)
            scope.cancel(reason="the test is over")
        assert over.is_set()
        assert held() is None  # though the stream refers to itself
        assert inner.socket.fileno() == far.socket.fileno() == -1
    near.socket.close()
    plain.socket.close()


async def receive_all(stream: TLSStream | trio.SocketStream) -> bytes:
    """All until the end, be it one of TCP only."""
    received = bytearray()
    try:
        async for data in stream:
            received += data
    except trio.BrokenResourceError:
        pass
    return bytes(received)


async def test_bytes_pass_both_ways(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    received: list[bytes] = []
    async with carried(tmp_path) as ends, trio.open_nursery() as nursery:

        async def collect(stream: TLSStream | trio.SocketStream) -> None:
            got = bytearray()
            while len(got) < len(data):
                got += await stream.receive_some()
            received.append(bytes(got))

        for stream in (ends.client, ends.plain):
            nursery.start_soon(collect, stream)
            nursery.start_soon(stream.send_all, data)
    assert received == [data, data]


async def test_the_end_of_one_direction_leaves_the_other_one_open(tmp_path: Path) -> None:
    async with carried(tmp_path) as ends:
        await ends.plain.send_all(b"the last words")
        await ends.plain.send_eof()
        assert await receive_all(ends.client) == b"the last words"
        await ends.client.send_all(b"the answer")
        assert await ends.plain.receive_some() == b"the answer"
        assert not ends.over.is_set()
        await ends.client.transport_stream.send_eof()
        assert await receive_all(ends.plain) == b""
        await ends.over.wait()


async def test_the_end_of_tls_is_an_end(tmp_path: Path) -> None:
    async with carried(tmp_path) as ends:
        await ends.client.send_all(b"the last words")
        await ends.client.aclose()
        assert await receive_all(ends.plain) == b"the last words"


@pytest.mark.parametrize("side", ["client", "plain"])
async def test_a_side_that_is_gone_ends_the_other_one(tmp_path: Path, side: str) -> None:
    async with carried(tmp_path) as ends:
        gone, other = ends.client.transport_stream, ends.plain
        if side == "plain":
            gone, other = other, gone
        gone.socket.close()
        assert await receive_all(other) == b""
        other.socket.close()
        await ends.over.wait()


async def test_last_words_arrive_though_the_other_side_still_talks(tmp_path: Path) -> None:
    async with carried(tmp_path) as ends:
        await ends.client.send_all(b"unread")
        said = 0
        with trio.move_on_after(0.1):  # until the client, which does not read, holds it up
            while True:
                said += await ends.plain.socket.send(bytes(1000))
        ends.plain.socket.close()
        await ends.client.send_all(b"too late")
        await trio.testing.wait_all_tasks_blocked()
        assert len(await receive_all(ends.client)) == said
        ends.client.transport_stream.socket.close()
        await ends.over.wait()


@pytest.mark.parametrize("words", [b"", b"too late"])
async def test_a_side_that_does_not_hear_the_end_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: bytes
) -> None:
    monkeypatch.setattr("trio_p2p._net.tls_carrier.PARTING_TIME", 0.1)
    async with carried(tmp_path) as ends:
        ends.plain.socket.close()
        await ends.client.send_all(words)
        await ends.over.wait()


async def test_garbage_in_tls_is_an_end(tmp_path: Path) -> None:
    async with carried(tmp_path) as ends:
        await ends.client.send_all(b"said")
        await ends.client.transport_stream.send_all(b"garbage" * 100)
        assert await receive_all(ends.plain) == b"said"
        ends.plain.socket.close()
        await ends.over.wait()


async def test_last_words_arrive_though_carrying_is_cancelled(tmp_path: Path) -> None:
    async with carried(tmp_path) as ends:
        await ends.client.send_all(b"unread")
        await ends.plain.send_all(b"the last words")
        ends.carrying.cancel(reason="the program ends")
        ends.plain.socket.close()
        assert await receive_all(ends.client) == b"the last words"
        assert not ends.over.is_set()  # what was sent and not read would be taken back
        ends.client.transport_stream.socket.close()
        await ends.over.wait()


async def test_cancelled_carrying_closes_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._net.tls_carrier.PARTING_TIME", 0.1)
    async with carried(tmp_path) as ends:
        ends.carrying.cancel(reason="the test wants it")
        await ends.over.wait()
        assert await receive_all(ends.plain) == b""
        assert await receive_all(ends.client) == b""
