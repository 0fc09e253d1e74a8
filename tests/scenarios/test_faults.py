"""Each call of the socket layer fails once, is short, or is slow, somewhere in an introduction.

One broker, one receiver and one sender run in one task each; a stream is opened directly and one
over the relay. Hundreds of such scenarios run at the same time, each with one call that fails.
"""

import errno
from collections import Counter
from collections.abc import Iterator

import attrs
import pytest
import trio

from trio_p2p import P2PError, open_p2p_listener, open_peer
from trio_p2p._net.system import System, system_in_use

from ..kit.faulty_system import PLAUSIBLE, Fault, FaultySystem
from ..kit.loopback import TECHNIQUES, echo, exchange, open_broker

DATA = bytes(range(256)) * 1024
TIME = 120.0  # seconds until a scenario is taken to hang
AT_ONCE = 40
MANY = 99  # more than any call has


@attrs.frozen
class Ending:
    """How a scenario has ended.

    Attributes:
        errors: what came out of it; nothing if all went well.
        is_hanging: whether it had to be cancelled.
    """

    errors: tuple[BaseException, ...] = ()
    is_hanging: bool = False


async def open_both_streams(system: System) -> Ending:
    """Exchange bytes with a receiver, directly and over the relay, on a system."""
    with trio.move_on_after(TIME):
        try:
            with system_in_use(system):
                await _open_both_streams()
        except BaseExceptionGroup as group:
            return Ending(tuple(leaves_of(group)))
        except (P2PError, trio.BrokenResourceError, OSError) as error:
            return Ending((error,))
        return Ending()
    return Ending(is_hanging=True)


async def _open_both_streams() -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("receiver", broker.address) as listener,
        open_peer(broker.address, techniques=TECHNIQUES["direct"]) as direct_sender,
        open_peer(broker.address, techniques=TECHNIQUES["relay"]) as relayed_sender,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(trio.serve_listeners, echo, [listener])
        for sender in (direct_sender, relayed_sender):
            stream = await sender.open_stream("receiver")
            assert await exchange(stream, DATA) == DATA
        nursery.cancel_scope.cancel(reason="both streams are done")


def leaves_of(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves_of(error)
        else:
            yield error


@pytest.fixture(scope="module")
def usual_calls() -> Counter[str]:
    """How often each call is made where none fails."""
    system = FaultySystem()
    assert trio.run(open_both_streams, system) == Ending()
    return system.made


async def run_all(faults: list[Fault]) -> dict[Fault, Ending]:
    endings: dict[Fault, Ending] = {}
    places = trio.Semaphore(AT_ONCE)

    async def run_one(fault: Fault) -> None:
        async with places:
            endings[fault] = await open_both_streams(FaultySystem(fault))

    async with trio.open_nursery() as nursery:
        for fault in faults:
            nursery.start_soon(run_one, fault)
    return endings


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("errnos", [1, pytest.param(MANY, marks=pytest.mark.soak)])
def test_each_call_fails_once(
    usual_calls: Counter[str], caplog: pytest.LogCaptureFixture, errnos: int
) -> None:
    faults = [
        Fault(call, nth, error)
        for call, count in usual_calls.items()
        for nth in range(count)
        for error in PLAUSIBLE[call][:errnos]
    ]
    endings = trio.run(run_all, faults)
    hanging = [str(fault) for fault, ending in endings.items() if ending.is_hanging]
    assert not hanging
    strange = {
        str(fault): ending.errors
        for fault, ending in endings.items()
        if fault.call != "open_listeners"  # which the test makes itself, for the broker
        and not all(
            isinstance(error, (P2PError, trio.BrokenResourceError)) for error in ending.errors
        )
    }
    assert not strange
    # Nor is a fault of one client's connection a surprise to the broker.
    surprises = [
        each for each in caplog.records if each.name == "trio_p2p.broker" and each.exc_info
    ]
    assert not surprises


@pytest.mark.parametrize("call", ["write", "read", "read_into", "splice_in", "splice_out"])
def test_calls_that_move_one_byte_are_all_the_same(call: str, usual_calls: Counter[str]) -> None:
    assert usual_calls[call]
    faults = [Fault(call, nth, is_short=True) for nth in range(0, usual_calls[call], 3)]
    endings = trio.run(run_all, faults)
    assert set(endings.values()) == {Ending()}


def test_slow_calls_are_waited_for(usual_calls: Counter[str]) -> None:
    faults = [Fault(call, nth=0, seconds=0.05) for call in usual_calls]
    endings = trio.run(run_all, faults)
    assert set(endings.values()) == {Ending()}


def test_faults_do_occur() -> None:
    system = FaultySystem(Fault("resolve", error=errno.EIO))
    ending = trio.run(open_both_streams, system)
    assert len(ending.errors) == len(system.occurred) == 1
