"""Sessions that peers have begun: which of them end because of what the same peer says later."""

import pytest
import trio

from trio_p2p import P2PStream, PathLostError, Peer, SessionLostError, open_peer

from ..kit.loopback import DIRECT_TECHNIQUES, PATIENCE, open_broker, open_listener, until
from ..kit.raw_client import identity_of
from ..kit.streams import reset


def give_up(stream: P2PStream) -> None:
    """End the sender's side of a connection whose path is lost, so that the receiver's waits."""
    assert stream.path is not None
    reset(stream.path)
    stream.connection.carrier.fail(PathLostError("the test gives up"))


async def open_pair(
    sender: Peer, listener: trio.abc.Listener[P2PStream]
) -> tuple[P2PStream, P2PStream]:
    opened = await sender.open_stream("receiver")
    return opened, await listener.accept()


async def test_program_that_has_no_other_session_ends_its_older_one() -> None:
    honest = identity_of("honest")
    async with (
        open_broker() as broker,
        open_listener("receiver", broker.address, grace=100 * PATIENCE) as listener,
        open_peer(broker.address, identity=honest, techniques=DIRECT_TECHNIQUES) as one,
        open_peer(broker.address, identity=honest, techniques=DIRECT_TECHNIQUES) as another,
    ):
        opened, older = await open_pair(one, listener)
        give_up(opened)
        await until(lambda: older.path is None)
        # Another program of the same identity has nothing to do with it.
        _, others = await open_pair(another, listener)
        assert not older.is_over
        _, newer = await open_pair(one, listener)
        with trio.fail_after(PATIENCE), pytest.raises(trio.BrokenResourceError) as caught:
            await older.receive_some()
        assert isinstance(caught.value.__cause__, SessionLostError)
        assert not others.is_over
        assert not newer.is_over


async def test_session_that_has_a_path_is_not_ended() -> None:
    async with (
        open_broker() as broker,
        open_listener("receiver", broker.address) as listener,
        open_peer(broker.address) as sender,
    ):
        pairs = [await open_pair(sender, listener)]
        # As if the first session's hello had said so, and came after the second session's.
        sender._connector._pool._begun.clear()
        pairs[0][0].connection.retire()
        pairs.append(await open_pair(sender, listener))
        for opened, accepted in pairs:
            await opened.send_all(b"?")
            assert await accepted.receive_some() == b"?"
        assert pairs[0][0].connection is not pairs[1][0].connection
