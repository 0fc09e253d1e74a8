"""The Python blocks of the documentation run, beside a broker and the receivers they ask for."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_p2p

from ..kit.doc_blocks import BROKER, EXPECTED, IMPORTS, Block, blocks
from ..kit.loopback import HOST, PATIENCE, LoopbackBroker, open_broker, until

OPENED = re.compile(r'(?:open_p2p_stream|open_stream|connect|watch)\(\s*"([\w-]+)"')
SERVED = re.compile(
    r'(?:serve_p2p, greet,|peer\.serve,|open_p2p_listener\(\s*|listen\()\s*"([\w-]+)"'
)
PROTOCOLS = ("", "mail/1", "subscribe")


async def serve(stream: trio_p2p.P2PStream) -> None:
    """Do what the pages expect of the other side."""
    if stream.protocol == "subscribe":
        async with await stream.connection.open_stream(protocol="news") as news:
            await news.send_all(b"it rains")
    else:
        await stream.send_all(b"hello")


async def hold(stream: trio_p2p.P2PStream) -> None:
    """Keep a stream open for as long as the other side does."""
    async for _ in stream:
        pass


class World:
    """What a block knows.

    Args:
        broker: it runs.
        nursery: of the tests.
        peer: the block's own.
        other: serves what the block asks for.
    """

    def __init__(
        self,
        broker: LoopbackBroker,
        nursery: trio.Nursery,
        peer: trio_p2p.Peer,
        other: trio_p2p.Peer,
    ) -> None:
        self._broker = broker
        self._nursery = nursery
        self._peer = peer
        self._other = other
        self.printed: list[str] = []

    async def run(self, block: Block) -> None:
        """Run a block to its end; or until it serves, or is told, what it is for."""
        watches = "registrations" in block.text
        for uid in () if watches else set(OPENED.findall(block.text)):
            for protocol in PROTOCOLS:
                await self._nursery.start(partial(self._other.serve, uid, serve, protocol=protocol))
        address = f"{HOST}:{self._broker.port}"
        source = block.source.replace(BROKER, address).replace("4433", "0")
        names: dict[str, Any] = {"print": self._print}
        exec(IMPORTS + source.replace(EXPECTED, str(self._other.peer_id)), names)
        function: Callable[..., Awaitable[None]] = names[block.function]
        known = {name: await self._known(name) for name in block.known}
        runs_on = watches or "serve" in block.text
        ended = trio.Event()

        async def run_to_its_end() -> None:
            await function(**known)
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_to_its_end)
            with trio.fail_after(PATIENCE):
                if not runs_on:
                    await ended.wait()
                await until(
                    lambda: self._broker.uids >= set(SERVED.findall(block.text)) or ended.is_set()
                )
                while watches and not self.printed:
                    async with self._other.listen(OPENED.findall(block.text)[0]):
                        await trio.sleep(0.01)
            nursery.cancel_scope.cancel(reason="the block has done what it is for")

    def _print(self, *values: object, end: str = "\n") -> None:
        self.printed.append(" ".join(map(str, values)) + end)

    async def _known(self, name: str) -> object:
        if name == "stream":
            await self._nursery.start(self._other.serve, "known", hold)
            return await self._peer.open_stream("known")
        if name == "listener":
            return await self._nursery.start(self._other.serve, "known", serve)
        return {
            "broker": f"{HOST}:{self._broker.port}",
            "friends": {self._other.peer_id},
            "greet": serve,
            "handle_files": serve,
            "handle_mail": serve,
            "handler": serve,
            "identity": trio_p2p.Identity.generate(),
            "me": trio_p2p.Identity.generate(),
            "nursery": self._nursery,
            "peer": self._peer,
            "shutdown": trio.Event(),
        }[name]


def test_there_are_blocks() -> None:
    assert len(list(blocks())) > 20


@pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in blocks()])
async def test_block_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with (
        open_broker() as broker,
        trio_p2p.open_peer(broker.address) as peer,
        trio_p2p.open_peer(broker.address) as other,
        trio.open_nursery() as nursery,
    ):
        await World(broker, nursery, peer, other).run(block)
        nursery.cancel_scope.cancel(reason="the test is over")
