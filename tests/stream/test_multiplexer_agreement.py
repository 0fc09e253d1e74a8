"""Both sides of a multiplexer agree on what either may do, whatever is under way between them."""

from trio_p2p._stream.credit import EARLY_STREAMS, FIRST_CREDIT
from trio_p2p._stream.multiplexer import Multiplexer
from trio_p2p._stream.stream_frames import DEFAULT_NAMES, ResetCode
from trio_p2p._stream.substream import Substream

from ..kit.multiplexers import MultiplexerPair, read_all, said_by, take


def fill(pair: MultiplexerPair, multiplexer: Multiplexer, stream: Substream) -> None:
    """Send as much as there is credit for, and have more to send."""
    while stream.room:
        multiplexer.write(stream, bytes(stream.room))
        pair.settle()


def test_a_stream_counts_until_all_that_the_accepting_side_took_has_left() -> None:
    pair = MultiplexerPair(streams=EARLY_STREAMS)
    streams = [pair.open() for _ in range(EARLY_STREAMS)]
    for _, theirs in streams:
        fill(pair, pair.acceptor, theirs)
        pair.acceptor.close(theirs)
    pair.settle()
    assert all(ours.is_refused for ours, _ in streams)
    assert not pair.may_open()
    ours, _ = streams[0]
    while read_all(pair.opener, ours):
        pair.settle()
    assert pair.may_open()
    pair.open()
    assert not pair.may_open()


def test_a_stream_that_is_reset_after_the_other_side_has_closed_counts_no_more() -> None:
    pair = MultiplexerPair(streams=EARLY_STREAMS)
    streams = [pair.open() for _ in range(EARLY_STREAMS)]
    ours, theirs = streams[0]
    fill(pair, pair.acceptor, theirs)
    pair.acceptor.close(theirs)
    pair.settle()
    assert not pair.may_open()
    pair.opener.reset(ours, ResetCode.ABORTED, "not wanted any more")
    assert pair.may_open()
    pair.open()
    assert len(pair.opener) == len(pair.acceptor) == EARLY_STREAMS


def test_first_credits_hold_while_news_of_other_streams_is_under_way() -> None:
    pair = MultiplexerPair()
    for ours, theirs in [pair.open() for _ in range(60)]:
        pair.opener.close(ours)
        pair.acceptor.close(theirs)
    take(pair.acceptor, said_by(pair.opener))
    under_way = said_by(pair.acceptor)  # that none of these streams counts any more
    pair.opener.open(DEFAULT_NAMES)
    take(pair.acceptor, said_by(pair.opener))
    theirs = pair.acceptor.opened[-1]
    while theirs.room:
        pair.acceptor.write(theirs, bytes(theirs.room))
        under_way += said_by(pair.acceptor)
    assert theirs.sent < FIRST_CREDIT
    take(pair.opener, under_way)
    pair.settle()
