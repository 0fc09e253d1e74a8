"""Decrypts what comes over a path, straight to where it belongs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from .._errors import P2PError
from .connection import broken, scratch_of_this_run
from .sink import Sink

if TYPE_CHECKING:
    from .tls import TLSEngine

# By measurement (benchmarks/streams.py): few calls, and OpenSSL finds it in the cache. OpenSSL
# also keeps that much memory for each path, once it was needed.
FEED_BYTES: Final = 2**18
SMALL_BYTES: Final = 2**12  # of ciphertext; what is decrypted of less is copied
# A sink's buffer with less room is copied to: to decrypt straight to it costs more, for each call.
TINY_BYTES: Final = 2**9


class Decryption:
    """What has come and was not taken yet.

    Args:
        engine: decrypts.
    """

    def __init__(self, engine: TLSEngine) -> None:
        self._engine = engine
        self._scratch = scratch_of_this_run()
        self._plain = b""  # decrypted
        self._unfed = _NOTHING  # of the ciphertext that has come, during a call

    @property
    def has_rest(self) -> bool:
        """Whether :meth:`give` may have something to give even if nothing more has come."""
        return bool(self._plain or self._engine.pending or self._engine.has_failed)

    def give(self, sink: Sink, ciphertext: memoryview) -> int | None:
        """Give a sink what there is, and more.

        Args:
            sink: what takes it.
            ciphertext: what has come.

        Returns:
            How many bytes the sink got; None if too few came for any.

        Raises:
            RemoteProtocolError: the sink does.
            trio.BrokenResourceError: nothing more can be decrypted; its cause says why.
        """
        engine = self._engine
        given = self._give_plain(sink)
        if self._plain:
            engine.feed(ciphertext)
            return given
        if engine.pending + len(ciphertext) <= SMALL_BYTES:
            return self._give_small(sink, ciphertext, given)
        engine.feed(ciphertext[:FEED_BYTES])  # before the scratch, where it may be, is used
        self._unfed = ciphertext[FEED_BYTES:]
        try:
            return self._give_large(sink, given)
        finally:
            self._unfed = _NOTHING

    def _give_large(self, sink: Sink, given: int) -> int | None:
        """Like :meth:`give`, for what was not fed yet."""
        engine = self._engine
        while self._feed():
            if given and engine.has_failed:
                return given  # the next call tells of it
            count = self._give_next(sink)
            if count is None:
                engine.feed(self._unfed)
                return given
            given += count
        return given or None

    def _feed(self) -> bool:
        """Let there be something to decrypt; whether there is."""
        engine = self._engine
        if self._unfed and not engine.pending:
            engine.feed(self._unfed[:FEED_BYTES])
            self._unfed = self._unfed[FEED_BYTES:]
        return bool(engine.pending or engine.has_failed)

    def _give_next(self, sink: Sink) -> int | None:
        """Decrypt what comes next, and give it.

        Returns:
            How many bytes the sink got; None if it takes nothing more.
        """
        size = self._engine.pending + len(self._unfed)
        if self._plain:
            return self._give_plain(sink, size) or None
        with sink.get_buffer(size) as buffer:
            if not buffer:
                return None
            is_tiny = len(buffer) < TINY_BYTES
            count = 0 if is_tiny else self._fill(buffer)
        if is_tiny:
            return self._give_plain(sink, size) if self._decrypt_some(is_one_record=True) else 0
        if count:
            sink.buffer_updated(count)
        return count

    def _fill(self, buffer: memoryview) -> int:
        """Decrypt straight to a sink's buffer; how many bytes that were."""
        filled = self._decrypt(buffer)
        while filled < len(buffer) and self._unfed and self._feed():
            if self._engine.has_failed:
                break  # what came before is good, and the next call tells of it
            with suppress(P2PError):  # the same
                filled += self._engine.decrypt_into(buffer[filled:])
        return filled

    def _give_small(self, sink: Sink, ciphertext: memoryview, given: int) -> int | None:
        """Like :meth:`give`, for what is cheaper to copy than to decrypt in several goes."""
        self._engine.feed(ciphertext)
        if self._engine.pending or (self._engine.has_failed and not given):
            self._decrypt_some()
            given += self._give_plain(sink)
        return given or None

    def _decrypt_some(self, *, is_one_record: bool = False) -> bool:
        """Decrypt a little, to be given afterwards; whether there was any.

        Args:
            is_one_record: whether to leave the next record: it may begin with much that is better
                decrypted straight to where it belongs.
        """
        scratch = self._scratch  # the ciphertext that may be there at its start is fed
        count = self._decrypt(scratch[:SMALL_BYTES], is_one_record=is_one_record)
        self._plain = bytes(scratch[:count])
        return bool(self._plain)

    def _give_plain(self, sink: Sink, behind: int = 0) -> int:
        """Give what is decrypted already.

        Args:
            sink: what takes it.
            behind: how many bytes follow it, about.

        Returns:
            How many bytes the sink got.
        """
        given, plain = 0, self._plain
        while plain:
            with sink.get_buffer(len(plain) + behind) as buffer:
                if not buffer:
                    break
                count = min(len(buffer), len(plain))
                buffer[:count] = plain[:count]
            plain = self._plain = plain[count:]
            sink.buffer_updated(count)
            given += count
        return given

    def _decrypt(self, buffer: memoryview, *, is_one_record: bool = False) -> int:
        try:
            return self._engine.decrypt_into(buffer, is_one_record=is_one_record)
        except P2PError as error:
            raise broken(error) from error


_NOTHING: Final = memoryview(b"")
