"""How sessions end: by both directions, by a close, or by giving up."""

from trio_p2p._errors import NotAdmittedError, PathLostError, StreamAbortedError
from trio_p2p._stream.frames import AbortCode, Kind, abort, header
from trio_p2p._stream.leg import IDLE_SILENCE_TIME
from trio_p2p._stream.session import Session
from trio_p2p._stream.session_sink import sink_of
from trio_p2p._stream.states import SessionRole, SessionState
from trio_p2p._stream.window import FIRST_WINDOW

from ..kit.session_pair import IDENTIFIER, MOST, SOCKET_BYTES, stream_bytes
from ..kit.sinks import Said, feed, frames_of
from .sessions import NOW, WINDOW, connected, data_frame, greeted, kinds, said_by, take

# Endings.


def test_the_end_of_a_direction_is_acknowledged_like_a_byte() -> None:
    pair = connected()
    pair.write(pair.opener, 3)
    pair.write_eof(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    assert said_by(pair.acceptor.session, pair.now) == [Said(Kind.ACK, 4, b"")]
    session = pair.acceptor.session
    assert (session.read(9), session.read(9), session.read(9)) == (stream_bytes(0, 3), b"", b"")
    assert not session.is_over


def test_a_close_is_acknowledged_like_two_bytes_and_ends_the_session() -> None:
    pair = connected()
    pair.write(pair.opener, 3)
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    session = pair.acceptor.session
    assert session.peer_is_closed
    assert said_by(session, pair.now) == [Said(Kind.ACK, 5, b"")]
    take(pair.opener.session, header(Kind.ACK, 4))
    assert not pair.opener.session.is_over
    take(pair.opener.session, header(Kind.ACK, 5))
    assert pair.opener.session.state is SessionState.FINISHED
    session.lose_path(NOW)
    assert session.read(9) == stream_bytes(0, 3)
    assert session.read(9) == b""
    session.close(NOW)
    assert session.state is SessionState.FINISHED


def test_whoever_closes_when_both_directions_have_ended_need_not_wait() -> None:
    pair = connected()
    for end in pair.ends.values():
        pair.write(end, 10)
        pair.write_eof(end)
    pair.run()
    pair.opener.session.close(pair.now)
    assert pair.opener.session.state is SessionState.FINISHED
    assert pair.opener.session.farewell() == header(Kind.CLOSE, 10)


def test_whoever_has_closed_reads_nothing_and_lets_the_other_side_go_on() -> None:
    pair = connected()
    pair.close(pair.acceptor)
    for _ in range(3):
        pair.write(pair.opener, FIRST_WINDOW)
        pair.pump(pair.opener)
        pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
        said = said_by(pair.acceptor.session, pair.now)
        assert len(pair.acceptor.session.incoming._inbox) == 0
        for frame in said:
            if frame.kind is not Kind.CLOSE:
                take(pair.opener.session, header(frame.kind, frame.number))
    assert pair.opener.session.room > 0
    assert pair.opener.written == 3 * FIRST_WINDOW


def test_whoever_only_looks_for_bytes_has_heard_nothing() -> None:
    session = greeted()
    dead_at = session.dead_at()
    feed(sink_of(session, NOW + 5), b"")
    assert session.dead_at() == dead_at
    feed(sink_of(session, NOW + 6), header(Kind.ACK, 0)[:1])
    assert session.dead_at() == NOW + 6 + IDLE_SILENCE_TIME


def test_an_end_whose_acknowledgement_was_lost_is_said_again() -> None:
    pair = connected()
    pair.write(pair.opener, 10)
    pair.write_eof(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.wires[-1].is_broken = True
    pair.run()
    assert pair.opener.session.dead_at() == pair.now + IDLE_SILENCE_TIME
    pair.close(pair.opener)
    pair.run()
    assert pair.opener.session.state is SessionState.FINISHED


def test_nothing_is_said_again_to_whoever_has_closed() -> None:
    pair = connected()
    pair.write(pair.acceptor, 10)
    pair.write_eof(pair.acceptor)
    pair.pump(pair.acceptor)  # and it is lost
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.open()
    pair.run()
    assert pair.opener.session.state is SessionState.FINISHED


def test_bytes_for_whoever_has_closed_are_dropped() -> None:
    session = greeted()
    session.write(b"nobody reads this", NOW)
    take(session, header(Kind.CLOSE, 0))
    assert kinds(said_by(session)) == [Kind.ACK]
    assert session.dead_at() == NOW + IDLE_SILENCE_TIME


# The end of it.


def test_a_peer_that_is_not_admitted_is_told_why() -> None:
    session = Session(SessionRole.OPENER, IDENTIFIER, WINDOW, NOW)
    session.open_path(NOW)
    take(session, abort(AbortCode.NOT_ADMITTED, "not\nyou") + b"and what follows is ignored")
    assert session.state is SessionState.BROKEN
    assert type(session.error) is NotAdmittedError
    assert str(session.error) == "not?you"


def test_whoever_gives_up_says_why() -> None:
    session, other = greeted(), greeted()
    session.fail(PathLostError("no way"))
    session.fail(PathLostError("too late"))
    take(other, session.farewell())
    assert type(other.error) is StreamAbortedError
    assert str(other.error) == "the other side gave up: no way"


def test_whoever_does_not_wait_says_so() -> None:
    for ending in (Session.write_eof, Session.close):
        session, other = greeted(), greeted()
        session.write(b"unsent", NOW)
        ending(session, NOW)
        take(other, session.farewell())
        assert type(other.error) is StreamAbortedError
        assert "did not wait" in str(other.error)


def test_a_farewell_to_whoever_has_closed_is_what_it_waits_for() -> None:
    pair = connected()
    pair.write(pair.acceptor, 10)
    pair.pump(pair.acceptor)  # and it is lost
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    wire = pair.open()
    pair.pump(pair.opener)
    pair.deliver(wire, SessionRole.ACCEPTOR)
    take(pair.opener.session, pair.acceptor.session.farewell())  # with the hello for the new path
    assert pair.opener.session.state is SessionState.FINISHED


def test_whoever_closes_in_the_midst_of_sending_still_says_that_it_knows_of_the_close() -> None:
    pair = connected(window=8 * WINDOW)
    while pair.acceptor.session.room < 2 * SOCKET_BYTES:
        pair.write(pair.acceptor, MOST)
        pair.run()
    pair.write(pair.acceptor, 2 * SOCKET_BYTES)
    pair.pump(pair.acceptor)  # the connection takes no more
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.close(pair.acceptor)
    assert not pair.acceptor.session.is_over
    pair.run()
    for end in pair.ends.values():
        assert end.session.state is SessionState.FINISHED


def test_whoever_closes_after_the_other_side_need_not_wait_for_another_path() -> None:
    pair = connected()
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.close(pair.acceptor)
    assert not pair.acceptor.session.is_over
    pair.acceptor.lose(pair.now)
    assert pair.acceptor.session.state is SessionState.FINISHED


def test_whoever_does_not_wait_for_the_hello_does_not_claim_that_all_has_arrived() -> None:
    session = Session(SessionRole.OPENER, IDENTIFIER, WINDOW, NOW)
    session.write(b"lost", NOW)
    session.open_path(NOW)
    said_by(session)
    session.open_path(NOW)
    session.close(NOW)
    hello, farewell = frames_of(session.farewell())
    assert hello.kind is Kind.HELLO
    assert farewell.kind is Kind.ABORT


def test_bytes_after_the_end_are_ignored() -> None:
    session = greeted()
    session.fail(PathLostError("no way"))
    take(session, data_frame(0, b"a"), now=NOW)
    session.lose_path(NOW)
    assert session.state is SessionState.BROKEN
    assert session.read(9) is None
