"""Flow of bytes: whatever the windows and pieces, no side waits for what only a timer brings."""

from hypothesis import example, given, settings, strategies as st

from trio_p2p._stream.frames import MAX_PAYLOAD_BYTES, MIN_WINDOW

from ..kit.session_pair import Pair

MIB = 1 << 20
all_windows = st.integers(MIN_WINDOW, 8 * MIB) | st.sampled_from(
    [MIN_WINDOW, MIB, 2 * MIB, 8 * MIB]
)
all_pieces = st.integers(1, MIB) | st.sampled_from([1, 1000, 65_536, 200_000])
least_rooms = st.sampled_from([1, 2000, 65_548, MAX_PAYLOAD_BYTES])


@settings(deadline=None)  # a busy machine has none
@given(
    windows=st.tuples(all_windows, all_windows),
    pieces=st.tuples(all_pieces, all_pieces),
    least=least_rooms,
    both=st.booleans(),
)
@example(windows=(MIB, 8 * MIB), pieces=(1000, 100 * 1024), least=1, both=True)
@example(windows=(8 * MIB, MIN_WINDOW), pieces=(MIB, MIB), least=MAX_PAYLOAD_BYTES, both=True)
def test_nothing_waits_for_a_timer(
    *, windows: tuple[int, int], pieces: tuple[int, int], least: int, both: bool
) -> None:
    pair = Pair(windows[0], acceptors_window=windows[1])
    pair.open()
    totals = {pair.opener: 3 * MIB, pair.acceptor: 3 * MIB if both else 0}
    sizes = dict(zip(pair.ends.values(), pieces, strict=True))
    is_changed = True
    while is_changed:  # the time stands still
        is_changed = False
        for end, total in totals.items():
            end.content.least = least
            piece = max(sizes[end], total // 300)  # or it would take too long
            is_changed |= pair.write(end, min(piece, total - end.written)) > 0
            is_changed |= pair.pump(end)
        for wire in pair.wires:
            for role in pair.ends:
                is_changed |= pair.deliver(wire, role)
        pair.check()
    for end, total in totals.items():
        assert end.written == total
        assert pair.ends[end.other].read == total
