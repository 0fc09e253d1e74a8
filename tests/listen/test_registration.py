"""A receiver that comes back: how soon, and for how long it tries."""

import errno

import attrs
import pytest
import trio

from trio_p2p import P2PError, UIDTakenError, open_p2p_listener
from trio_p2p._control.patience import RESTART_PAUSE
from trio_p2p._net.backoff import LONGEST_FACTOR, Backoff
from trio_p2p._net.network_changes import Network, current_network
from trio_p2p._net.system import system_in_use
from trio_p2p._wire.messages import (
    Hello,
    RefusalCode,
    Refused,
    Register,
    Registered,
    Unregister,
)

from ..kit.fake_broker import Script, open_fake_broker
from ..kit.faulty_system import Fault, FaultySystem
from ..kit.hostile import GREETING, THERE
from ..kit.loopback import PATIENCE, open_broker, until
from ..kit.raw_client import RawClient
from ..kit.streams import open_peers


async def register_all(client: RawClient) -> None:
    await client.receive(Hello)
    await client.send(GREETING)
    message = await client.channel.receive()
    if isinstance(message, Unregister):  # it was cancelled before it had asked
        return
    assert isinstance(message, Register)
    await client.send(Registered(0, THERE))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were due, which are not made."""
    due: list[float] = []

    async def rest(backoff: Backoff, network: Network, **_options: object) -> None:
        due.append(backoff._pause)
        await trio.lowlevel.checkpoint()
        backoff.next_pause()

    monkeypatch.setattr(Backoff, "rest", rest)
    return due


async def test_pauses_grow_if_each_registration_breaks_at_once(pauses: list[float]) -> None:
    async def register_and_close(client: RawClient) -> None:
        await register_all(client)
        await client.aclose()

    async with (
        open_fake_broker(register_and_close) as address,
        open_p2p_listener("alice", address),
    ):
        await until(lambda: len(pauses) >= 10)
    longest = 2 * RESTART_PAUSE / LONGEST_FACTOR  # as long as the broker may be starting again
    assert pauses[:9] == [pytest.approx(min(0.1 * 2**n, longest)) for n in range(9)]


async def test_receiver_is_awaited_while_an_accepted_stream_has_no_path() -> None:
    async with open_peers() as peers:
        [control] = peers.listener._name.registration._controls
        opened, accepted = await peers.open_pair("relay")
        assert not control._is_awaited()
        await peers.broker.kill()
        await until(lambda: accepted.path is None)
        assert control._is_awaited()
        await peers.broker.start()
        await until(lambda: not control._is_awaited())
        await opened.connection.aclose()
        await until(lambda: accepted.connection.is_over)
        assert not control._is_awaited()


def refuse_second(code: RefusalCode) -> Script:
    """A broker that ends the first registration, refuses the next two, and accepts what follows."""
    registrations = 0

    async def serve(client: RawClient) -> None:
        nonlocal registrations
        await client.receive(Hello)
        await client.send(GREETING)
        await client.receive(Register)
        registrations += 1
        if registrations in (2, 3):
            await client.send(Refused(code, "THE REASON"))
            return
        await client.send(Registered(0, THERE))
        if registrations == 1:
            await client.aclose()

    return serve


async def test_name_that_is_held_for_a_while_is_asked_for_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = refuse_second(RefusalCode.UID_TAKEN)
    async with open_fake_broker(script) as address, open_p2p_listener("alice", address) as listener:
        await until(lambda: listener.statistics().registrations == 2)
        with trio.move_on_after(0.05) as scope:
            await listener.accept()
        assert scope.cancelled_caught
    said = [record for record in caplog.records if "THE REASON" in record.getMessage()]
    assert [record.levelname for record in said] == ["WARNING"]


@pytest.mark.parametrize("code", [RefusalCode.IDENTITY_NOT_PROVEN, RefusalCode.UNSUPPORTED_VERSION])
async def test_what_the_broker_refuses_for_good_ends_the_listener(code: RefusalCode) -> None:
    script = refuse_second(code)
    async with open_fake_broker(script) as address, open_p2p_listener("alice", address) as listener:
        with trio.fail_after(PATIENCE), pytest.raises(P2PError, match="THE REASON"):
            await listener.accept()


async def test_first_registration_under_a_name_that_is_held_fails_at_once() -> None:
    async with open_broker() as broker, open_p2p_listener("alice", broker.address):
        with pytest.raises(UIDTakenError):
            async with open_p2p_listener("alice", broker.address):
                pytest.fail("registered twice")


async def test_move_during_the_first_registration_is_not_the_caller_s_business(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moves = 0

    async def lose_by_a_move(client: RawClient) -> None:
        nonlocal moves
        await client.receive(Hello)
        if not moves:
            moves += 1
            await client.aclose()
            return
        await client.send(GREETING)
        await client.receive(Register)
        await client.send(Registered(0, THERE))

    def network_now(*ip_versions: int) -> Network:
        return attrs.evolve(current_network(*ip_versions), sleeps=moves)

    monkeypatch.setattr("trio_p2p._listen.registration.current_network", network_now)
    async with (
        open_fake_broker(lose_by_a_move) as address,
        open_p2p_listener("alice", address) as listener,
    ):
        assert listener.statistics().registrations == 1
    assert moves == 1


@pytest.mark.parametrize("failures", [1, 2])
async def test_shortage_that_passes_is_waited_for(failures: int) -> None:
    faults = [Fault("listen", nth, errno.EADDRINUSE) for nth in range(failures)]
    async with open_broker() as broker:
        with system_in_use(FaultySystem(*faults)):
            async with open_p2p_listener("alice", broker.address) as listener:
                assert listener.statistics().registrations == 1


async def test_shortage_that_does_not_pass_is_explained() -> None:
    async with open_broker() as broker:
        system = FaultySystem(Fault("listen", None, errno.EADDRINUSE))
        with system_in_use(system), pytest.raises(P2PError, match="no local port is free"):
            async with open_p2p_listener("alice", broker.address):
                pytest.fail("registered without a port")
