"""Both ends of connections and streams."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from trio_p2p import PathKind
from trio_p2p.testing import NatBehaviour, memory_connection_pair, memory_stream_pair


async def test_either_end_opens_streams(autojump_clock: MockClock) -> None:
    async with memory_connection_pair("eim-apdf", "masquerade") as pair:
        assert pair.opened.peer_id != pair.accepted.peer_id
        assert pair.opened.path is not None
        assert pair.opened.path.kind is PathKind.DIRECT
        there = await pair.opened.open_stream()
        here = await pair.listener.accept()
        assert here.connection is pair.accepted
        back = await pair.accepted.open_stream()
        forth = await pair.opened.accept()
        for one, other in ((there, here), (back, forth)):
            await one.send_all(b"hello")
            assert bytes(await other.receive_some()) == b"hello"
            await one.aclose()
            await other.aclose()


@pytest.mark.parametrize("nat", [None, "random", NatBehaviour()])
async def test_streams_have_peer_ids_paths_and_protocols(
    nat: str | NatBehaviour | None, autojump_clock: MockClock
) -> None:
    async with memory_stream_pair(nat, "random-rst", protocol="chat") as (opened, accepted):
        assert opened.protocol == accepted.protocol == "chat"
        assert opened.peer_id != accepted.peer_id
        assert opened.path is not None
        await accepted.send_all(b"hello")
        await accepted.send_eof()
        assert bytes(await opened.receive_some()) == b"hello"
        assert not await opened.receive_some()
