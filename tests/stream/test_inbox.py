"""The inbox: bytes in order, wherever they were put, in no more memory than they are worth."""

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trio_p2p._stream.inbox import Inbox

COUNTS = st.integers(1, 20) | st.sampled_from([4096, 4097, 70_000])


def put(inbox: Inbox, data: bytes, missing: int, size: int) -> int:
    """Put as many bytes as the next buffer takes; how many these are."""
    buffer = inbox.get_buffer(missing, size)
    assert 0 < len(buffer) <= missing
    count = min(len(buffer), len(data))
    buffer[:count] = data[:count]
    buffer.release()
    inbox.arrived(count)
    return count


class Inboxes(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.inbox = Inbox()
        self.content = b""
        self.count = 0

    def make(self, length: int) -> bytes:
        self.count += 1
        return (self.count.to_bytes(4, "big") * (length // 4 + 1))[:length]

    @rule(length=COUNTS, size=COUNTS, come=COUNTS, ahead=st.booleans())
    def put_piece(self, length: int, size: int, come: int, ahead: bool) -> None:
        """A piece comes in parts, perhaps into memory that is for what follows it, too."""
        data = self.make(length)
        while data:
            missing = len(data)
            most = size if ahead else min(size, missing)
            count = put(self.inbox, data[:come], missing, most)
            self.content += data[:count]
            data = data[count:]

    @rule(length=COUNTS)
    def append(self, length: int) -> None:
        data = self.make(length)
        self.inbox.append(data)
        self.content += data

    @rule(count=COUNTS)
    def take(self, count: int) -> None:
        taken = self.inbox.take(count)
        assert len(taken) <= count
        assert self.content.startswith(taken)
        assert taken or not self.content
        self.content = self.content[len(taken) :]

    @rule()
    def clear(self) -> None:
        self.inbox.clear()
        self.content = b""

    @invariant()
    def is_as_long(self) -> None:
        if hasattr(self, "inbox"):
            assert len(self.inbox) == len(self.content)
            assert bool(self.inbox) == bool(self.content)

    def teardown(self) -> None:
        if hasattr(self, "inbox"):
            while self.content:
                self.take(1 << 20)
            assert self.inbox.take(1) == b""


TestInboxes = pytest.mark.once(Inboxes.TestCase)
TestInboxes.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_a_piece_that_fills_its_memory_is_not_copied() -> None:
    inbox = Inbox()
    buffer = inbox.get_buffer(100_000, 100_000)
    kept = buffer.obj
    buffer.release()
    inbox.arrived(100_000)
    assert inbox.take(1 << 20) is kept


def test_memory_that_was_taken_for_more_is_not_kept() -> None:
    inbox = Inbox()
    assert put(inbox, b"abc", 100_000, 100_000) == 3
    taken = inbox.take(10)
    assert taken == b"abc"
    assert taken.__sizeof__() < 1000
