"""What is to be sent is encrypted step by step, as it is taken."""

import pytest

from trio_p2p import P2PError
from trio_p2p._stream.encryption import SMALL_BYTES, Encryption
from trio_p2p._stream.spare_memory import spare_memory_of_this_run
from trio_p2p._stream.steps import ENCRYPT_BYTES

from ..kit.tls_pair import Pair, connected


def decrypted(pair: Pair, ciphertext: bytes) -> bytes:
    pair.server.feed(ciphertext)
    buffer = bytearray(len(ciphertext))
    return bytes(buffer[: pair.server.decrypt_into(memoryview(buffer))])


@pytest.mark.parametrize("size", [1, SMALL_BYTES - 1, SMALL_BYTES, 3 * ENCRYPT_BYTES])
async def test_all_leaves_in_order_however_little_is_taken(size: int) -> None:
    pair = connected()
    encryption = Encryption(pair.client)
    data = bytes(number % 251 for number in range(size))
    encryption.begin([data[:1], memoryview(data)[1:]])
    sent = bytearray()
    while (rest := encryption.next()) is not None:
        count = min(len(rest), 100_000)
        sent += rest[:count]
        encryption.taken(count)
    assert decrypted(pair, bytes(sent)) == data


async def test_memory_is_given_back_when_all_of_it_was_taken() -> None:
    encryption = Encryption(connected().client)
    encryption.begin([bytes(ENCRYPT_BYTES)])
    rest = encryption.next()
    assert rest is not None
    encryption.taken(len(rest) - 1)
    spare = spare_memory_of_this_run()
    assert spare.take(1) is not rest.obj
    encryption.taken(1)
    assert encryption.next() is None
    assert spare.take(1) is rest.obj


async def test_nothing_is_left_of_what_is_forgotten() -> None:
    encryption = Encryption(connected().client)
    encryption.begin([bytes(3 * ENCRYPT_BYTES)])
    assert encryption.next() is not None
    encryption.forget()
    assert encryption.rest is encryption.next() is None


async def test_nothing_is_encrypted_before_the_handshake() -> None:
    encryption = Encryption(Pair().client)
    encryption.begin([b"early"])
    with pytest.raises(P2PError, match="the handshake has not ended"):
        encryption.next()
