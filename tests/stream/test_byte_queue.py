"""The queue of bytes: in order, whole, and in little memory."""

import tracemalloc

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trio_p2p._stream.byte_queue import ByteQueue

LENGTHS = st.sampled_from([0, 1, 4096, 4097, 65_536, 100_000]) | st.integers(0, 5000)


class Queues(RuleBasedStateMachine):
    """A queue and another one behind it, which comes back in front, like a session's."""

    @initialize()
    def begin(self) -> None:
        self.queues = ByteQueue(), ByteQueue()
        self.contents = b"", b""
        self.count = 0

    @rule(which=st.integers(0, 1), length=LENGTHS, is_mutable=st.booleans())
    def append(self, which: int, length: int, is_mutable: bool) -> None:
        self.count += 1
        piece = self.count.to_bytes(4, "big") * (length // 4 + 1)
        piece = piece[:length]
        self.queues[which].append(bytearray(piece) if is_mutable else piece)
        self._put(which, self.contents[which] + piece)

    @rule(which=st.integers(0, 1), count=LENGTHS)
    def take(self, which: int, count: int) -> None:
        taken = self.queues[which].take(count)
        content = self.contents[which]
        assert content.startswith(taken)
        assert len(taken) <= count
        assert taken or not count or not content
        self._put(which, content[len(taken) :])

    @rule(which=st.integers(0, 1), count=LENGTHS)
    def drop(self, which: int, count: int) -> None:
        count = min(count, len(self.contents[which]))
        self.queues[which].drop(count)
        self._put(which, self.contents[which][count:])

    @rule(which=st.integers(0, 1))
    def put_back(self, which: int) -> None:
        self.queues[which].put_back(self.queues[1 - which])
        self._put(which, self.contents[1 - which] + self.contents[which])
        self._put(1 - which, b"")

    @rule(which=st.integers(0, 1))
    def clear(self, which: int) -> None:
        self.queues[which].clear()
        self._put(which, b"")

    def _put(self, which: int, content: bytes) -> None:
        first, second = self.contents
        self.contents = (first, content) if which else (content, second)

    @invariant()
    def is_as_long(self) -> None:
        if hasattr(self, "queues"):
            for queue, content in zip(self.queues, self.contents, strict=True):
                assert queue.length == len(content)
                assert (queue.length > 0) == bool(content)

    def teardown(self) -> None:
        if hasattr(self, "queues"):
            for which in (0, 1):
                while self.contents[which]:
                    self.take(which, 1 << 20)
                assert self.queues[which].take(1) == b""


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_a_piece_that_was_taken_does_not_change_when_more_comes() -> None:
    queue = ByteQueue()
    queue.append(b"first")
    queue.append(b" and second")
    taken = queue.take(5)
    queue.append(b" and third")
    assert taken == b"first"
    assert queue.take(100) == b" and second and third"


def test_a_piece_that_does_not_change_is_not_copied() -> None:
    queue, piece = ByteQueue(), bytes(100_000)
    queue.append(piece)
    assert queue.take(100_000) is piece


def test_many_small_pieces_cost_little_more_than_their_bytes() -> None:
    queue = ByteQueue()
    tracemalloc.start()
    try:
        for number in range(300_000):
            queue.append(number.to_bytes(4, "big")[3:])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert queue.length == 300_000
    assert held < 400_000
