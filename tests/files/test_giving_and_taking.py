"""Files over streams: what is left when either side is cancelled, fails, or ends."""

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_p2p import RemoteProtocolError
from trio_p2p._files.failures import FilesError
from trio_p2p._files.folder import Folder
from trio_p2p._files.given_tree import GivenTree
from trio_p2p._files.giving import give
from trio_p2p._files.messages import Decline, Get, encode
from trio_p2p._files.taking import ENDED, Taking
from trio_p2p._files.tally import Tally

from ..kit.every_step import Canceller, at_every_checkpoint
from .offers import PEER_ID, files_in, make_tree, never_stop, random_bytes

CONTENT = random_bytes(2_500_000)
SMALL = random_bytes(5000)


def always() -> bool:
    return True


@pytest.fixture
def tree(tmp_path: Path) -> GivenTree:
    make_tree(tmp_path / "source", {"a/big": CONTENT, "a/small": SMALL})
    return GivenTree([tmp_path / "source" / "a"], never_stop)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


async def take(stream: trio.abc.HalfCloseableStream, target: Path) -> list[str]:
    with Folder.at(target) as folder:
        taking = Taking(stream, PEER_ID, folder)
        listing = await taking.receive_offer()
        return await taking.take(listing, await taking.survey(listing), Tally())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.parametrize("is_giver", [True, False], ids=["giver", "taker"])
async def test_cancelled_at_any_checkpoint(tree: GivenTree, target: Path, is_giver: bool) -> None:
    """No descriptor is left, and what has come is of use the next time."""

    async def scenario(canceller: Canceller) -> None:
        left, right = trio.testing.memory_stream_pair()

        async def give_all() -> None:
            async with left:
                await give(left, tree, Tally(), always)

        async def take_all() -> None:
            async with right:
                await take(right, target)

        cancelled, other = (give_all, take_all) if is_giver else (take_all, give_all)
        with trio.CancelScope() as scope:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(other)
                    await canceller.run(cancelled)
            except* trio.BrokenResourceError:
                assert canceller.has_struck
            scope.cancel(reason="the other side has ended")

    await at_every_checkpoint(scenario, descriptors, min_steps=5, moments=[True])
    assert files_in(target) == {"a": None, "a/big": CONTENT, "a/small": SMALL}


async def test_a_giver_that_ends_in_between(tree: GivenTree, target: Path) -> None:
    left, right = trio.testing.memory_stream_pair()
    await left.send_all(b"\xc4")
    await left.send_eof()
    with pytest.raises(trio.BrokenResourceError, match=ENDED):
        await take(right, target)


async def test_a_giver_that_offers_nothing(
    autojump_clock: trio.testing.MockClock, target: Path
) -> None:
    _left, right = trio.testing.memory_stream_pair()
    with pytest.raises(RemoteProtocolError, match="the peer has offered nothing within 120 s"):
        await take(right, target)


async def test_a_taker_that_ends_without_a_word(tree: GivenTree) -> None:
    left, right = trio.testing.memory_stream_pair()
    await right.send_eof()
    assert not await give(left, tree, Tally(), always)


async def test_a_taker_whose_turn_it_is_not(tree: GivenTree) -> None:
    left, right = trio.testing.memory_stream_pair()
    await right.send_all(encode(Get(1, 0)))
    assert not await give(left, tree, Tally(), lambda: False)
    data = await right.receive_some(100_000)
    assert data.endswith(encode(Decline("another peer takes the files")))


async def test_a_taker_that_says_why_it_closes(tree: GivenTree) -> None:
    """Its words are heard, though sending fails before they are listened to."""
    to_taker, from_giver = trio.testing.lockstep_stream_one_way_pair()
    to_giver, from_taker = trio.testing.memory_stream_one_way_pair()
    giver = trio.StapledStream(to_taker, from_taker)
    with pytest.RaisesGroup(pytest.RaisesExc(FilesError, match="has not taken all files: why")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give, giver, tree, Tally(), always)
            await from_giver.receive_some(100_000)  # the offer
            await to_giver.send_all(encode(Get(1, 0)))
            await from_giver.receive_some(10)
            await to_giver.send_all(encode(Decline("why")))
            await to_giver.aclose()
            await from_giver.aclose()


async def test_declining(tree: GivenTree, target: Path) -> None:
    left, right = trio.testing.memory_stream_pair()
    with (
        Folder.at(target) as folder,
        pytest.RaisesGroup(pytest.RaisesExc(FilesError, match="has not taken all files: no")),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give, left, tree, Tally(), always)
            taking = Taking(right, PEER_ID, folder)
            await taking.receive_offer()
            await taking.decline("no")
    assert files_in(target) == {}
