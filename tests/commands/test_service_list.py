"""Lists of services: what peers say of themselves, and what hostile ones may say."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from trio_p2p import P2PStream, RemoteProtocolError, open_peer
from trio_p2p._commands import service_list
from trio_p2p._commands.run import CommandError
from trio_p2p._commands.service_list import (
    MAX_LIST_BYTES,
    SERVICES,
    ask_for_services,
    missing_service_error,
    parse_services_untrusted,
    tell_services,
)
from trio_p2p._commands.trusted_receiver import TrustedReceiver

from ..kit.loopback import open_broker

pytestmark = pytest.mark.once

NAMES = st.text(st.characters(categories=["L", "N", "P"]), max_size=20)


@given(st.frozensets(NAMES))
def test_there_and_back(names: frozenset[str]) -> None:
    async def tell() -> bytes:
        ours, theirs = trio.testing.memory_stream_one_way_pair()
        await tell_services(names, ours)
        await ours.aclose()
        return b"".join([data async for data in theirs])

    assert parse_services_untrusted(trio.run(tell)) == names


@pytest.mark.parametrize(
    "data", [b"web", b"web\nssh", b"\xff\n", b"\x1b[2J\n", b"a\r\n", b"x" * 129 + b"\n"], ids=repr
)
def test_what_is_no_list(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="the peer names services as `expose` does not"):
        parse_services_untrusted(data)


def test_very_many_names() -> None:
    error = missing_service_error("u", "x", map(str, range(100, 1000)))
    assert str(error).endswith(f"there is {', '.join(repr(str(n)) for n in range(100, 110))}, …")


def test_none_at_all() -> None:
    error = missing_service_error("u", "", [])
    assert str(error) == "the peer of 'u' exposes no service without a name: it has none"


async def ask(handler: Callable[[P2PStream], Awaitable[None]]) -> None:
    """Ask, and have something answer."""
    async with (
        open_broker() as broker,
        open_peer(broker.address) as one,
        open_peer(broker.address) as other,
        trio.open_nursery() as nursery,
    ):

        async def serve(*, task_status: trio.TaskStatus[object]) -> None:
            await one.serve("u", handler, protocol=SERVICES, task_status=task_status)

        await nursery.start(serve)
        receiver = TrustedReceiver(other, broker.address, "u", one.peer_id)
        await ask_for_services(receiver)


async def test_a_list_without_an_end() -> None:
    async def flood(stream: P2PStream) -> None:
        for _ in range(MAX_LIST_BYTES // 1024 + 1):
            await stream.send_all(b"web\n" * 256)
        await trio.sleep_forever()

    with pytest.RaisesGroup(
        pytest.RaisesExc(RemoteProtocolError, match="more services than anyone has"),
        flatten_subgroups=True,
    ):
        await ask(flood)


async def test_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def be_silent(stream: P2PStream) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(service_list, "ANSWER_TIME", 0.01)
    with pytest.RaisesGroup(
        pytest.RaisesExc(CommandError, match="the peer of 'u' has not said within 0.01 s"),
        flatten_subgroups=True,
    ):
        await ask(be_silent)


async def test_a_peer_that_breaks_off() -> None:
    async def abort(stream: P2PStream) -> None:
        stream.abort("no time")

    with pytest.RaisesGroup(
        pytest.RaisesExc(CommandError, match="the connection to the peer broke: .*no time"),
        flatten_subgroups=True,
    ):
        await ask(abort)
