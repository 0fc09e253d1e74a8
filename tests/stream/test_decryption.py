"""What is decrypted goes straight to where it belongs, in as few goes as that takes."""

import attrs
import pytest
import trio
from hypothesis import given, settings, strategies as st

from trio_p2p._errors import RemoteProtocolError
from trio_p2p._stream.decryption import FEED_BYTES, SMALL_BYTES, Decryption
from trio_p2p._stream.tls import RECORD_BYTES

from ..kit.tls_pair import connected

HEADER_BYTES = 26
NOTHING = memoryview(b"")


@attrs.define
class Bites:
    """Takes bytes in buffers of given sizes, one after the other, and then in large ones.

    Attributes:
        sizes: the buffers'.
        given: what came in each of them.
    """

    sizes: list[int]
    given: list[bytes] = attrs.field(factory=list)
    _buffer: bytearray = attrs.field(factory=bytearray)

    def get_buffer(self, _size: int) -> memoryview:
        if not self._buffer:
            self._buffer = bytearray(self.sizes.pop(0) if self.sizes else 2 * FEED_BYTES)
        return memoryview(self._buffer)

    def buffer_updated(self, count: int) -> None:
        self.given.append(bytes(self._buffer[:count]))
        self._buffer = bytearray()

    @property
    def data(self) -> bytes:
        return b"".join(self.given)


def give_all(decryption: Decryption, sink: Bites, ciphertext: bytes) -> None:
    given = decryption.give(sink, memoryview(ciphertext))
    while decryption.has_rest and given is not None:
        given = decryption.give(sink, NOTHING)


async def test_large_piece_behind_a_header_is_not_copied() -> None:
    pair = connected()
    header, piece = b"h" * HEADER_BYTES, b"p" * RECORD_BYTES * 4
    sink = Bites([HEADER_BYTES, len(piece)])
    ciphertext = pair.client.encrypt([header, piece])
    Decryption(pair.server).give(sink, memoryview(ciphertext))
    assert sink.given == [header, piece]


async def test_buffer_is_filled_beyond_what_is_fed_at_a_time() -> None:
    pair = connected()
    piece = bytes(range(256)) * (2 * FEED_BYTES // 256)
    sink = Bites([len(piece)])
    Decryption(pair.server).give(sink, memoryview(pair.client.encrypt([piece])))
    assert sink.given == [piece]


@attrs.define
class OneBite(Bites):
    """Takes one buffer, and nothing more."""

    def get_buffer(self, size: int) -> memoryview:
        return memoryview(b"") if self.given else super().get_buffer(size)


@pytest.mark.parametrize("rest", [b"r", b"r" * RECORD_BYTES])
async def test_what_a_sink_does_not_take_is_kept_for_the_next(rest: bytes) -> None:
    pair = connected()
    first, second = OneBite([HEADER_BYTES]), Bites([])
    decryption = Decryption(pair.server)
    ciphertext = pair.client.encrypt([b"h" * HEADER_BYTES + rest])
    assert decryption.give(first, memoryview(ciphertext)) == HEADER_BYTES
    assert decryption.has_rest
    give_all(decryption, second, b"")
    assert (first.data, second.data) == (b"h" * HEADER_BYTES, rest)


@pytest.mark.parametrize("good_records", [0, 3, FEED_BYTES // RECORD_BYTES])
async def test_what_came_before_a_forged_record_is_good(good_records: int) -> None:
    pair = connected()
    good = b"g" * RECORD_BYTES * good_records
    ciphertext = bytearray(pair.client.encrypt([good])) if good else bytearray()
    forged = bytearray(pair.client.encrypt([b"f" * RECORD_BYTES]))
    forged[-1] ^= 1
    ciphertext += forged + pair.client.encrypt([b"b" * 2 * FEED_BYTES])
    decryption, sink = Decryption(pair.server), Bites([4 * FEED_BYTES])
    if good:
        assert decryption.give(sink, memoryview(ciphertext)) == len(good)
        ciphertext.clear()
    assert sink.data == good
    with pytest.raises(trio.BrokenResourceError) as caught:
        decryption.give(sink, memoryview(bytes(ciphertext)))
    assert isinstance(caught.value.__cause__, RemoteProtocolError)
    assert sink.data == good


@settings(max_examples=50, deadline=None)
@given(
    pieces=st.lists(st.integers(1, 3 * RECORD_BYTES), min_size=1, max_size=20),
    sizes=st.lists(st.integers(1, 2 * SMALL_BYTES), max_size=60),
    comes=st.lists(st.integers(1, FEED_BYTES + 1000), max_size=5),
)
async def test_all_arrives_in_whatever_pieces(
    pieces: list[int], sizes: list[int], comes: list[int]
) -> None:
    pair = connected()
    data = [bytes([number]) * length for number, length in enumerate(pieces)]
    ciphertext = b"".join(pair.client.encrypt([piece]) for piece in data)
    decryption, sink = Decryption(pair.server), Bites(sizes)
    for count in [*comes, len(ciphertext)]:
        give_all(decryption, sink, ciphertext[:count])
        ciphertext = ciphertext[count:]
    assert sink.data == b"".join(data)
