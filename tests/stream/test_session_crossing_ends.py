"""Sessions that both sides end while they move: whichever event comes last completes them."""

import pytest

from trio_p2p._stream.frames import HelloReader
from trio_p2p._stream.session import Session
from trio_p2p._stream.session_sink import former_sink_of, sink_of
from trio_p2p._stream.states import SessionRole, SessionState

from ..kit.sinks import feed
from .sessions import NOW, make_session


def say(session: Session, seconds: float) -> bytes:
    return b"".join(session.pieces_to_send(NOW + seconds))


def open_pair() -> tuple[Session, Session]:
    """An opener and an acceptor that have greeted on their first path."""
    opener, acceptor = (make_session(role) for role in SessionRole)
    opener.open_path(NOW)
    reader = HelloReader()
    rest = feed(reader, say(opener, 0.0))
    assert reader.hello is not None
    assert acceptor.accept_path(reader.hello, NOW)
    assert not feed(sink_of(acceptor, NOW), rest)
    assert not feed(sink_of(opener, NOW), say(acceptor, 0.0))
    return opener, acceptor


@pytest.mark.parametrize("is_lost_first", [True, False])
def test_both_close_while_the_next_path_is_lost(*, is_lost_first: bool) -> None:
    opener, acceptor = open_pair()
    acceptor.close(NOW + 0.1)
    last_words = say(acceptor, 0.1)
    opener.open_path(NOW + 0.3)
    assert say(opener, 0.3)  # a hello that nothing is going to answer
    opener.close(NOW + 0.4)
    if is_lost_first:
        opener.lose_path(NOW + 0.5)
    assert not opener.is_over
    feed(former_sink_of(opener, NOW + 0.6), last_words)
    if not is_lost_first:
        opener.lose_path(NOW + 0.7)
    assert opener.state is SessionState.FINISHED


def test_the_side_that_is_left_learns_that_all_is_said() -> None:
    opener, acceptor = open_pair()
    opener.open_path(NOW + 0.1)
    opener.close(NOW + 0.2)
    opener.lose_path(NOW + 0.3)
    acceptor.close(NOW + 0.3)
    feed(former_sink_of(opener, NOW + 0.4), say(acceptor, 0.4))
    assert opener.state is SessionState.FINISHED
    assert not acceptor.is_over
    feed(sink_of(acceptor, NOW + 0.5), opener.former_farewell())
    assert acceptor.state is SessionState.FINISHED
