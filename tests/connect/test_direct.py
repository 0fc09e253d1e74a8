"""Both versions of IP at once: which connection wins, and what is told if none does."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest
import trio
import trio.testing

from trio_p2p import (
    BrokerLostError,
    BrokerUnreachableError,
    IntroductionError,
    Outcome,
    P2PError,
    Technique,
    UnknownUIDError,
)
from trio_p2p._connect.direct import DirectDialer
from trio_p2p._connect.rounds import Round
from trio_p2p._control.control import Control
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._wire.messages import StreamKind

from ..kit.attempts import NotedAttempts
from ..kit.controls import controls_by

BOTH, IPV4 = (6, 4), (4,)

# What comes of a round by a version of IP.
Give: TypeAlias = Callable[[], PeerConnection | Outcome]
Result: TypeAlias = tuple[float, Give]


def connection() -> PeerConnection:
    socket = trio.socket.socket()
    return PeerConnection(trio.SocketStream(socket), Technique.FAST, b"")


def gives(made: PeerConnection) -> Give:
    return lambda: made


def fails(error: P2PError) -> Give:
    def fail() -> PeerConnection:
        raise error

    return fail


def leads_nowhere() -> Outcome:
    return Outcome.NOT_INTRODUCED


async def open_connection(ip_versions: Sequence[int], ipv6: Result, ipv4: Result) -> PeerConnection:
    """What comes of rounds by each version, after some seconds."""

    async def open_in_round(control: Control, _: Round) -> PeerConnection | Outcome:
        seconds, result = ipv6 if control.ip_version == 6 else ipv4
        await trio.sleep(seconds)
        return result()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trio_p2p._connect.rounds._open", open_in_round)
        dialer = DirectDialer(controls_by(*ip_versions), "uid", StreamKind.RAW)
        return await dialer.dial(NotedAttempts())


async def test_first_connection_wins(autojump_clock: trio.testing.MockClock) -> None:
    quick, slow = connection(), connection()
    with quick.stream.socket, slow.stream.socket:
        assert await open_connection(BOTH, (1, gives(quick)), (2, gives(slow))) is quick
        assert await open_connection(BOTH, (2, gives(slow)), (1, gives(quick))) is quick


@pytest.mark.parametrize("result", [leads_nowhere, fails(BrokerLostError("lost"))])
async def test_one_that_fails_does_not_hinder_the_other(
    autojump_clock: trio.testing.MockClock, result: Give
) -> None:
    made = connection()
    with made.stream.socket:
        assert await open_connection(BOTH, (1, result), (2, gives(made))) is made
        assert await open_connection(BOTH, (2, gives(made)), (1, result)) is made


async def test_address_says_which_one(autojump_clock: trio.testing.MockClock) -> None:
    made = connection()
    with made.stream.socket:
        lost = fails(BrokerLostError("never asked"))
        assert await open_connection(IPV4, (0, lost), (1, gives(made))) is made


async def test_attempts_of_both_are_told(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(IntroductionError, match="2 attempts") as caught:
        await open_connection(BOTH, (1, leads_nowhere), (2, leads_nowhere))
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [str(each).partition(":")[0] for each in cause.exceptions] == ["fast (ipv6)", "fast"]


async def test_unknown_uid_is_believed_at_once(autojump_clock: trio.testing.MockClock) -> None:
    unknown = UnknownUIDError("nobody")
    began_at = trio.current_time()
    with pytest.raises(UnknownUIDError):
        await open_connection(BOTH, (1000, leads_nowhere), (1, fails(unknown)))
    assert trio.current_time() == began_at + 1


async def test_what_tells_most_is_told(autojump_clock: trio.testing.MockClock) -> None:
    unreachable, lost = fails(BrokerUnreachableError("no address")), BrokerLostError("lost")
    for results in (((1, unreachable), (2, fails(lost))), ((1, fails(lost)), (2, unreachable))):
        with pytest.raises(BrokerLostError):
            await open_connection(BOTH, *results)
    with pytest.raises(IntroductionError):
        await open_connection(BOTH, (1, unreachable), (2, leads_nowhere))
    silent = BrokerUnreachableError("silent")
    silent.__cause__ = ExceptionGroup("one for each address", [OSError()])
    with pytest.raises(BrokerUnreachableError, match="silent"):
        await open_connection(BOTH, (1, fails(silent)), (2, unreachable))


async def test_connection_is_closed_if_nobody_is_going_to_have_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made = connection()
    with trio.CancelScope() as scope:

        def give_in_the_last_moment(*_: object) -> PeerConnection:
            scope.cancel()
            return made

        await open_connection(BOTH, (1, give_in_the_last_moment), (2, leads_nowhere))
    assert scope.cancelled_caught
    assert made.stream.socket.fileno() == -1
