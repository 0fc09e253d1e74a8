"""How sessions end: by a close of both sides, or by giving up."""

import math

from trio_p2p._errors import NotAdmittedError, PathLostError, SessionLostError, StreamAbortedError
from trio_p2p._stream.frames import AbortCode, Kind, abort, header
from trio_p2p._stream.leg import IDLE_SILENCE_TIME
from trio_p2p._stream.session_sink import former_sink_of, sink_of
from trio_p2p._stream.states import SessionRole, SessionState

from ..kit.session_pair import MOST, SOCKET_BYTES
from ..kit.sinks import Said, feed, frames_of
from .sessions import (
    NOW,
    WINDOW,
    connected,
    data_frame,
    greeted,
    kinds,
    make_session,
    said_by,
    take,
)

# Endings.


def test_the_end_is_acknowledged_like_a_byte_and_ends_the_session() -> None:
    pair = connected()
    pair.write(pair.opener, 3)
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    session = pair.acceptor.session
    assert session.peer_is_closed
    assert pair.acceptor.read == 3
    assert said_by(session, pair.now) == [Said(Kind.ACK, 4, b"")]
    take(pair.opener.session, header(Kind.ACK, 3))
    assert not pair.opener.session.is_over
    take(pair.opener.session, header(Kind.ACK, 4))
    assert pair.opener.session.state is SessionState.FINISHED
    assert not session.is_over
    session.close(NOW)
    assert session.state is SessionState.FINISHED


def test_a_close_that_makes_no_progress_is_known() -> None:
    pair = connected()
    session = pair.opener.session
    assert session.stalled_since == math.inf
    pair.write(pair.opener, 3)
    pair.pump(pair.opener)
    pair.now += 5
    pair.close(pair.opener)
    assert session.stalled_since == pair.now
    pair.now += 5
    take(session, header(Kind.ACK, 1), now=pair.now)
    assert session.stalled_since == pair.now
    pair.now += 5
    take(session, header(Kind.ACK, 1), now=pair.now)
    assert session.stalled_since == pair.now - 5
    session.close(pair.now)
    assert session.stalled_since == pair.now - 5
    pair.opener.lose(pair.now)
    assert session.stalled_since == math.inf


def test_a_side_that_has_closed_takes_nothing_more_and_lets_the_other_side_go_on() -> None:
    pair = connected()
    pair.close(pair.acceptor)
    pair.write(pair.opener, 1000)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    assert pair.acceptor.read == 0
    assert pair.acceptor.session.incoming.received == 1000
    pair.run()
    assert pair.opener.session.peer_is_closed
    assert not pair.opener.session.is_over
    pair.close(pair.opener)
    pair.run()
    for end in pair.ends.values():
        assert end.session.state is SessionState.FINISHED


def test_a_side_that_only_looks_for_bytes_has_heard_nothing() -> None:
    session = greeted()
    dead_at = session.dead_at()
    feed(sink_of(session, NOW + 5), b"")
    assert session.dead_at() == dead_at
    feed(sink_of(session, NOW + 6), header(Kind.ACK, 0)[:1])
    assert session.dead_at() == NOW + 6 + IDLE_SILENCE_TIME


def test_an_end_whose_acknowledgement_was_lost_is_said_again() -> None:
    pair = connected()
    pair.write(pair.opener, 10)
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.pump(pair.acceptor)
    pair.wires[-1].is_broken = True
    pair.run()
    assert pair.opener.session.state is SessionState.FINISHED
    assert pair.acceptor.read == 10


def test_nothing_is_said_again_to_a_side_that_has_closed() -> None:
    pair = connected()
    pair.write(pair.acceptor, 10)
    pair.pump(pair.acceptor)  # and it is lost
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.close(pair.acceptor)
    pair.open()
    pair.run()
    assert pair.opener.session.state is SessionState.FINISHED


def test_bytes_for_a_side_that_has_closed_are_dropped() -> None:
    session = greeted()
    session.plain.write(b"not read by anything")
    session.pieces_to_send(NOW)
    session.outgoing.send_again_from(0)
    session.plain.write(b"nor this")
    take(session, header(Kind.CLOSE, 0))
    session.plain.unsent.clear()
    assert kinds(said_by(session)) == [Kind.ACK]
    assert session.dead_at() == NOW + IDLE_SILENCE_TIME


# The end of it.


def test_a_peer_that_is_not_admitted_is_told_why() -> None:
    session = make_session()
    session.open_path(NOW)
    take(session, abort(AbortCode.NOT_ADMITTED, "not\nyou") + b"and what follows is ignored")
    assert session.state is SessionState.BROKEN
    assert type(session.error) is NotAdmittedError
    assert str(session.error) == "not?you"


def test_a_session_that_the_other_side_does_not_know_is_lost() -> None:
    session = greeted()
    take(session, abort(AbortCode.UNKNOWN_SESSION, "this session is not known here"))
    assert type(session.error) is SessionLostError


def test_a_side_that_gives_up_says_why() -> None:
    session, other = greeted(), greeted()
    session.fail(PathLostError("no way"))
    session.fail(PathLostError("too late"))
    take(other, session.farewell())
    assert type(other.error) is StreamAbortedError
    assert str(other.error) == "the other side gave up: no way"


def test_a_side_that_does_not_wait_says_so() -> None:
    session, other = greeted(), greeted()
    session.plain.write(b"sent, and lost")
    session.pieces_to_send(NOW)
    session.outgoing.send_again_from(0)
    session.close(NOW)
    take(other, session.farewell())
    assert type(other.error) is StreamAbortedError
    assert "did not wait" in str(other.error)


def test_a_side_that_closes_when_all_is_sent_says_so_even_if_it_does_not_wait() -> None:
    session, other = greeted(), greeted()
    session.plain.write(b"all")
    said = b"".join(session.pieces_to_send(NOW))
    session.close(NOW)
    take(other, said, session.farewell())
    assert other.plain.received == b"all"
    assert other.peer_is_closed


def test_a_farewell_to_a_side_that_has_closed_is_what_it_waits_for() -> None:
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


def test_a_side_that_closes_in_the_midst_of_sending_still_says_that_it_knows_of_the_close() -> None:
    pair = connected(window=8 * WINDOW)
    pair.write(pair.acceptor, MOST)
    pair.pump(pair.acceptor)  # the connection takes no more
    assert len(pair.acceptor.wire_to_other) > SOCKET_BYTES
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.close(pair.acceptor)
    assert not pair.acceptor.session.is_over
    pair.run()
    for end in pair.ends.values():
        assert end.session.state is SessionState.FINISHED


def test_a_side_that_closes_after_the_other_one_need_not_wait_for_another_path() -> None:
    pair = connected()
    pair.close(pair.opener)
    pair.pump(pair.opener)
    pair.deliver(pair.wires[-1], SessionRole.ACCEPTOR)
    pair.close(pair.acceptor)
    assert not pair.acceptor.session.is_over
    pair.acceptor.lose(pair.now)
    assert pair.acceptor.session.state is SessionState.FINISHED


def test_a_side_that_does_not_wait_for_the_hello_does_not_claim_that_all_has_arrived() -> None:
    session = make_session()
    session.plain.write(b"lost")
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
    assert session.plain.received == b""
    session.former = None
    assert not session.pieces_to_send(NOW)
    assert feed(former_sink_of(session, NOW), b"a") == b"a"
