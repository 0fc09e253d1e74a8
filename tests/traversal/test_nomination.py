"""One connection for one search, on both sides."""

import pytest
import trio
import trio.testing

from trio_p2p._traversal.nomination import MAX_DONE, Searches, Nomination
from trio_p2p._wire.messages import ID_BYTES

ERRAND, OTHER = bytes(ID_BYTES), bytes(range(ID_BYTES))


async def test_first_connection_ends_the_other_introductions(
    autojump_clock: trio.testing.MockClock,
) -> None:
    searches, came = Searches(), list[tuple[str, str | None]]()

    async def introduce(
        name: str, search: bytes | None, seconds: float, ip_version: int = 4
    ) -> None:
        async def connect() -> str:
            await trio.sleep(seconds)
            return name

        came.append((name, await searches.connect(search, ip_version, connect)))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(introduce, "quick", ERRAND, 1)
            nursery.start_soon(introduce, "slow", ERRAND, 100, 6)
            nursery.start_soon(introduce, "another's", OTHER, 2)
            nursery.start_soon(introduce, "nobody's", None, 3)
        await introduce("late", ERRAND, 100)
    expected = {"quick": "quick", "slow": None, "another's": "another's", "nobody's": "nobody's"}
    assert dict(came) == {**expected, "late": None}


async def test_next_round_ends_the_last_one(autojump_clock: trio.testing.MockClock) -> None:
    searches, ended = Searches(), list[tuple[str, float, bool]]()

    async def wait() -> str:
        await trio.sleep(100)
        return "connected"

    async def introduce(name: str, ip_version: int) -> None:
        connected = await searches.connect(ERRAND, ip_version, wait)
        ended.append((name, trio.current_time(), connected is None))

    started_at = trio.current_time()
    with trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(introduce, "first", 4)
            nursery.start_soon(introduce, "over IPv6", 6)
            await trio.sleep(1)
            nursery.start_soon(introduce, "second", 4)
    assert ended == [("first", started_at + 1, True)]


async def test_introduction_that_fails_leaves_the_others_alone() -> None:
    searches = Searches()

    async def fail() -> str:
        await trio.lowlevel.checkpoint()
        raise OSError("it broke")

    async def connect() -> str:
        await trio.lowlevel.checkpoint()
        return "connected"

    with pytest.raises(OSError, match="it broke"):
        await searches.connect(ERRAND, 4, fail)
    assert await searches.connect(ERRAND, 4, connect) == "connected"


async def test_searches_that_are_done_are_forgotten_one_day() -> None:
    searches = Searches()

    async def connect() -> str:
        await trio.lowlevel.checkpoint()
        return "connected"

    for number in range(MAX_DONE + 1):
        assert await searches.connect(number.to_bytes(ID_BYTES, "big"), 4, connect)
    assert await searches.connect(MAX_DONE.to_bytes(ID_BYTES, "big"), 4, connect) is None
    assert await searches.connect(ERRAND, 4, connect) == "connected"


def test_what_was_nominated_in_vain_begins_a_new_search() -> None:
    nomination = Nomination()
    first, nomination.is_made = nomination.search, True
    nomination.withdraw()
    assert not nomination.is_made
    assert nomination.search != first
