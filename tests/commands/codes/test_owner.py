"""One wrong guess ends a code, and its owner is told; only what proves it is admitted."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from trio_p2p import Identity, P2PStream, Peer, RemoteProtocolError, open_peer
from trio_p2p._commands.codes import owner as owner_module
from trio_p2p._commands.codes.code import Code
from trio_p2p._commands.codes.exact import receive_exactly
from trio_p2p._commands.codes.opener import prove_code
from trio_p2p._commands.codes.owner import MAX_UNPROVEN_TRIES, CodeOwner, open_code
from trio_p2p._commands.codes.pairing import ELEMENT_BYTES, PROTOCOL, Pairing, Side
from trio_p2p._commands.codes.words import WORDS
from trio_p2p._commands.run import CommandError

from ...kit.loopback import open_broker, until

pytestmark = pytest.mark.once

GUESSES = 1000
WRONG = "the other side does not know this code"
OVER = pytest.RaisesGroup(
    pytest.RaisesExc(CommandError, match="has tried a wrong code, so the code is over"),
    flatten_subgroups=True,
)


@asynccontextmanager
async def open_peers(count: int = 2) -> AsyncGenerator[list[Peer]]:
    """The owner's, and those of others."""
    async with open_broker() as broker, trio.open_nursery() as nursery:
        peers: list[Peer] = []

        async def be_peer(*, task_status: trio.TaskStatus[Peer]) -> None:
            async with open_peer(broker.address, identity=Identity.generate()) as peer:
                task_status.started(peer)
                await trio.sleep_forever()

        for _ in range(count):
            peers.append(await nursery.start(be_peer))  # noqa: PERF401 - awaits
        yield peers
        nursery.cancel_scope.cancel(reason="the test is over")


def wrong(code: Code) -> Code:
    first, *others = code.words.split("-")
    other = WORDS[WORDS.index(first) - 1]
    return attrs.evolve(code, words="-".join([other, *others]))


async def open_try(peer: Peer, code: Code) -> P2PStream:
    return await peer.open_stream(code.uid, protocol=PROTOCOL)


async def test_the_right_code() -> None:
    async with open_peers() as [alice, bob], open_code(alice) as owner:
        assert not owner.admits(bob.peer_id)
        async with alice.listen(owner.code.uid, admit=owner.admits) as listener:
            assert await prove_code(bob, owner.code) == alice.peer_id
            assert owner.admits(bob.peer_id)
            stream = await bob.open_stream(owner.code.uid, expect=alice.peer_id)
            await stream.send_all(b"hello")
            accepted = await listener.accept()
            assert accepted.peer_id == bob.peer_id
            assert await accepted.receive_some() == b"hello"
            # Once more, as a program does that was started again.
            assert await prove_code(bob, owner.code) == alice.peer_id


async def test_no_other_peer_comes_in() -> None:
    async with (
        open_peers(3) as [alice, bob, mallory],
        open_code(alice) as owner,
        alice.listen(owner.code.uid, admit=owner.admits),
    ):
        stream = await mallory.open_stream(owner.code.uid)
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        await prove_code(bob, owner.code)
        # Now not even with the code.
        with pytest.raises(CommandError, match=WRONG):
            await prove_code(mallory, owner.code)
        assert owner.admits(bob.peer_id)


async def test_a_wrong_code_ends_it() -> None:
    async with open_peers() as [alice, bob]:
        codes: list[Code] = []
        with OVER:
            async with open_code(alice) as owner:
                codes.append(owner.code)
                with pytest.raises(CommandError, match=WRONG):
                    await prove_code(bob, wrong(owner.code))
                await trio.sleep_forever()
        with pytest.raises(CommandError, match=f"{WRONG}|nothing waits with the code"):
            await prove_code(bob, codes[0])


async def test_a_wrong_code_of_the_right_peer_ends_nothing() -> None:
    async with open_peers() as [alice, bob], open_code(alice) as owner:
        await prove_code(bob, owner.code)
        with pytest.raises(CommandError, match=WRONG):
            await prove_code(bob, wrong(owner.code))
        await prove_code(bob, owner.code)


async def test_tries_that_break_off_end_nothing() -> None:
    """They have guessed nothing, and learn nothing."""
    async with open_peers() as [alice, bob], open_code(alice) as owner:
        for _ in range(3):
            stream = await open_try(bob, owner.code)
            await receive_exactly(stream, ELEMENT_BYTES)
            await stream.aclose()
        stream = await open_try(bob, owner.code)
        await stream.send_all(bytes(ELEMENT_BYTES))  # no element
        with pytest.raises(trio.BrokenResourceError):
            await receive_exactly(stream, ELEMENT_BYTES + 1)
        await prove_code(bob, owner.code)


async def test_very_many_tries_that_break_off_end_it() -> None:
    """How long they take depends on the code, however little."""
    async with open_peers() as [alice, bob]:
        too_many = pytest.RaisesGroup(
            pytest.RaisesExc(CommandError, match="64 tries at the code have broken off, as if"),
            flatten_subgroups=True,
        )
        with too_many:
            async with open_code(alice) as owner:
                for _ in range(MAX_UNPROVEN_TRIES):
                    async with await open_try(bob, owner.code) as stream:
                        await receive_exactly(stream, ELEMENT_BYTES)
                async with await open_try(bob, owner.code) as stream:
                    with pytest.raises((RemoteProtocolError, trio.BrokenResourceError)):
                        await receive_exactly(stream, ELEMENT_BYTES)
                await trio.sleep_forever()


async def test_tries_of_the_right_peer_are_not_counted() -> None:
    async with open_peers() as [alice, bob], open_code(alice) as owner:
        await prove_code(bob, owner.code)
        for _ in range(MAX_UNPROVEN_TRIES + 1):
            async with await open_try(bob, owner.code) as stream:
                await receive_exactly(stream, ELEMENT_BYTES)
        await prove_code(bob, owner.code)


async def test_one_of_several_guesses_at_once_is_heard() -> None:
    async with open_peers() as [alice, bob]:
        owner = CodeOwner(Code.make(), alice.peer_id)
        errors: list[CommandError] = []

        async def hear(stream: P2PStream) -> None:
            try:
                await owner.hear(stream)
            except CommandError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            uid = owner.code.uid

            async def serve(*, task_status: trio.TaskStatus[object]) -> None:
                await alice.serve(uid, hear, protocol=PROTOCOL, task_status=task_status)

            await nursery.start(serve)
            guesses = []
            for _ in range(5):
                stream = await open_try(bob, owner.code)
                pairing = Pairing(
                    Side.OPENER, wrong(owner.code), opener=bob.peer_id, owner=alice.peer_id
                )
                await stream.send_all(pairing.element)
                element = await receive_exactly(stream, ELEMENT_BYTES)
                guesses.append((stream, pairing.hear_element_untrusted(element)))
            for stream, guess in guesses:
                await stream.send_all(guess)
            for stream, _ in guesses:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
            assert len(errors) == 1
            # And the right one comes too late.
            with pytest.raises(CommandError, match=WRONG):
                await prove_code(bob, owner.code)
            nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.slow
async def test_none_of_1000_wrong_guesses_succeeds_and_the_owner_is_told() -> None:
    """Each at a code of its own, as one guess is all that there is."""
    told = 0
    async with open_peers() as [alice, bob], trio.open_nursery() as nursery:
        owners: list[CodeOwner] = []

        async def hear(stream: P2PStream) -> None:
            nonlocal told
            owners.append(owner := CodeOwner(Code.make(), alice.peer_id))
            with pytest.raises(CommandError, match="has tried a wrong code"):
                await owner.hear(stream)
            told += 1
            assert not owner.admits(bob.peer_id)

        async def serve(*, task_status: trio.TaskStatus[object]) -> None:
            await alice.serve("codes", hear, protocol=PROTOCOL, task_status=task_status)

        await nursery.start(serve)
        for number in range(GUESSES):
            stream = await bob.open_stream("codes", protocol=PROTOCOL)
            guess = Code.make()
            pairing = Pairing(Side.OPENER, guess, opener=bob.peer_id, owner=alice.peer_id)
            await stream.send_all(pairing.element)
            element = await receive_exactly(stream, ELEMENT_BYTES)
            await stream.send_all(pairing.hear_element_untrusted(element))
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            await until(lambda: told == number + 1)  # noqa: B023 - awaited here
        nursery.cancel_scope.cancel(reason="the test is over")
    assert told == len(owners) == GUESSES


async def test_tries_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "TRY_TIME", 0.01)
    async with open_peers() as [alice, bob], open_code(alice) as owner:
        stream = await open_try(bob, owner.code)
        await receive_exactly(stream, ELEMENT_BYTES)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
        assert "was not proven within 0.01 s" in str(caught.value.__cause__)


async def test_many_tries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "MAX_TRIES_AT_ONCE", 2)
    async with open_peers() as [alice, bob], open_code(alice) as owner:
        streams = [await open_try(bob, owner.code) for _ in range(2)]
        for stream in streams:
            await receive_exactly(stream, ELEMENT_BYTES)
        one_more = await open_try(bob, owner.code)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await one_more.receive_some()
        assert "too many peers try the code" in str(caught.value.__cause__)
        for stream in streams:
            stream.abort("enough")
        await until(lambda: owner._tries == 0)
        await prove_code(bob, owner.code)


async def test_a_number_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [Code(11111, "a-b-c"), Code(11111, "a-b-c"), Code(22222, "a-b-c")]
    monkeypatch.setattr(Code, "make", lambda: codes.pop(0))
    async with open_peers() as [alice, bob], open_code(alice), open_code(bob) as owner:
        assert owner.code.number == 22222
