"""Flow control: whatever the windows and pieces, no side waits for what only a timer brings."""

from hypothesis import example, given, settings, strategies as st

from trio_p2p._stream.frames import MAX_PAYLOAD_BYTES, MIN_PIECE_BYTES
from trio_p2p._stream.window import MIN_WINDOW

from ..kit.session_pair import MOST, End, Pair

MIB = 1 << 20
all_windows = st.integers(MIN_WINDOW, 8 * MIB) | st.sampled_from(
    [MIN_WINDOW, MIB, 2 * MIB, 8 * MIB]
)
all_pieces = st.integers(1, MIB) | st.sampled_from([1, 1000, MIN_PIECE_BYTES, 200_000])


def write_like_a_stream(pair: Pair, end: End, total: int, piece: int) -> bool:
    """Write in pieces, as an application's stream does; whether anything was taken."""
    is_changed = False
    while end.written < total:
        rest = min(piece - end.written % piece, total - end.written)
        if end.session.room < min(rest, MIN_PIECE_BYTES):
            end.session.is_blocked = True
            break
        taken = min(rest, end.session.room, MAX_PAYLOAD_BYTES)
        pair.write(end, taken)
        end.session.is_blocked = False
        pair.pump(end)
        is_changed = True
    else:
        end.session.is_blocked = False
    return is_changed


@settings(deadline=None)  # a busy machine has none
@given(
    windows=st.tuples(all_windows, all_windows),
    pieces=st.tuples(all_pieces, all_pieces),
    read=st.integers(1, MIB),
    both=st.booleans(),
)
@example(windows=(MIB, 8 * MIB), pieces=(1000, 100 * 1024), read=MIB, both=True)
@example(windows=(8 * MIB, MIN_WINDOW), pieces=(MIB, MIB), read=10_000, both=True)
def test_nothing_waits_for_a_timer(
    *, windows: tuple[int, int], pieces: tuple[int, int], read: int, both: bool
) -> None:
    pair = Pair(windows[0], acceptors_window=windows[1])
    pair.open()
    totals = {pair.opener: 3 * MIB, pair.acceptor: 3 * MIB if both else 0}
    sizes = dict(zip(pair.ends.values(), pieces, strict=True))
    read = max(read, 3 * MIB // 300)
    is_changed = True
    while is_changed:  # the time stands still
        is_changed = False
        for end, total in totals.items():
            sizes[end] = max(sizes[end], total // 300)  # or it would take too long
            is_changed |= write_like_a_stream(pair, end, total, sizes[end])
            is_changed |= pair.pump(end)
        for wire in pair.wires:
            for role in pair.ends:
                is_changed |= pair.deliver(wire, role)
        for end in pair.ends.values():
            while pair.read(end, min(read, MOST)):
                is_changed = True
                pair.pump(end)
        pair.check()
    for end, total in totals.items():
        assert end.written == total
        assert pair.ends[end.other].read == total
