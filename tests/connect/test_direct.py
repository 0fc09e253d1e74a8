"""Both versions of IP at once: which connection wins, and what is told if none does."""

from collections.abc import Callable
from typing import TypeAlias

import pytest
import trio
import trio.testing

from trio_p2p import (
    Attempt,
    BrokerLostError,
    BrokerUnreachableError,
    IntroductionError,
    Outcome,
    P2PError,
    Technique,
    UnknownUIDError,
)
from trio_p2p._broker_client.resolve import IP_VERSIONS
from trio_p2p._connect.direct import open_by_any_ip
from trio_p2p._connect.rounds import Search, Round
from trio_p2p._nat.local_network import LocalNetwork
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._traversal.strategy import reflexive_route
from trio_p2p._wire.messages import StreamKind

from ..kit.raw_client import identity_of

NAME, ADDRESS = "broker.example", "192.0.2.1"

Result: TypeAlias = tuple[float, Callable[[Round], PeerConnection | None]]


def connection() -> PeerConnection:
    socket = trio.socket.socket()
    return PeerConnection(trio.SocketStream(socket), Technique.FAST, b"")


def gives(made: PeerConnection) -> Callable[[Round], PeerConnection]:
    return lambda _: made


def fails(error: P2PError) -> Callable[[Round], PeerConnection]:
    def fail(_: Round) -> PeerConnection:
        raise error

    return fail


def leads_nowhere(round_: Round) -> None:
    route = reflexive_route(round_.ip_version)
    round_.on_attempt(Attempt(Technique.FAST, None, None, Outcome.NOT_INTRODUCED, 0.0, route))


async def open_connection(host: str, ipv6: Result, ipv4: Result) -> PeerConnection:
    """What comes of rounds by each version, after some seconds."""

    def note(_: Attempt) -> None:
        """Ignore it: what the caller gets says all."""

    local_network = {ip_version: LocalNetwork() for ip_version in IP_VERSIONS}
    search = Search(StreamKind.RAW, identity_of("sender"), note, local_network, port_guessing=False)

    async def open_in_round(round_: Round) -> PeerConnection | None:
        seconds, result = ipv6 if round_.ip_version == 6 else ipv4
        await trio.sleep(seconds)
        return result(round_)

    return await open_by_any_ip(host, "uid", [Technique.FAST], search, open_in_round)


async def test_first_connection_wins(autojump_clock: trio.testing.MockClock) -> None:
    quick, slow = connection(), connection()
    with quick.stream.socket, slow.stream.socket:
        assert await open_connection(NAME, (1, gives(quick)), (2, gives(slow))) is quick
        assert await open_connection(NAME, (2, gives(slow)), (1, gives(quick))) is quick


@pytest.mark.parametrize("result", [leads_nowhere, fails(BrokerLostError("lost"))])
async def test_one_that_fails_does_not_hinder_the_other(
    autojump_clock: trio.testing.MockClock, result: Callable[[Round], PeerConnection | None]
) -> None:
    made = connection()
    with made.stream.socket:
        assert await open_connection(NAME, (1, result), (2, gives(made))) is made
        assert await open_connection(NAME, (2, gives(made)), (1, result)) is made


async def test_address_says_which_one(autojump_clock: trio.testing.MockClock) -> None:
    made = connection()
    with made.stream.socket:
        lost = fails(BrokerLostError("never asked"))
        assert await open_connection(ADDRESS, (0, lost), (1, gives(made))) is made


async def test_attempts_of_both_are_told(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(IntroductionError, match="2 attempts") as caught:
        await open_connection(NAME, (1, leads_nowhere), (2, leads_nowhere))
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [str(each).partition(":")[0] for each in cause.exceptions] == ["fast (ipv6)", "fast"]


async def test_unknown_uid_is_believed_at_once(autojump_clock: trio.testing.MockClock) -> None:
    unknown = UnknownUIDError("nobody")
    began_at = trio.current_time()
    with pytest.raises(UnknownUIDError):
        await open_connection(NAME, (1000, leads_nowhere), (1, fails(unknown)))
    assert trio.current_time() == began_at + 1


async def test_what_tells_most_is_told(autojump_clock: trio.testing.MockClock) -> None:
    unreachable, lost = fails(BrokerUnreachableError("no address")), BrokerLostError("lost")
    for results in (((1, unreachable), (2, fails(lost))), ((1, fails(lost)), (2, unreachable))):
        with pytest.raises(BrokerLostError):
            await open_connection(NAME, *results)
    with pytest.raises(IntroductionError):
        await open_connection(NAME, (1, unreachable), (2, leads_nowhere))
    silent = BrokerUnreachableError("silent")
    silent.__cause__ = ExceptionGroup("one for each address", [OSError()])
    with pytest.raises(BrokerUnreachableError, match="silent"):
        await open_connection(NAME, (1, fails(silent)), (2, unreachable))


async def test_connection_is_closed_if_nobody_is_going_to_have_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made = connection()
    with trio.CancelScope() as scope:

        def give_in_the_last_moment(_: Round) -> PeerConnection:
            scope.cancel()
            return made

        await open_connection(NAME, (1, give_in_the_last_moment), (2, leads_nowhere))
    assert scope.cancelled_caught
    assert made.stream.socket.fileno() == -1
