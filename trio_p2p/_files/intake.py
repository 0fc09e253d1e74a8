"""Takes what comes over a stream apart, into messages and the content between them. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterator

from .._wire.codec import FrameReader
from .._wire.message_codec import MAX_FRAME_BYTES
from .messages import Message, Piece, decode_untrusted


class Intake:
    """Cuts a stream of bytes into messages, and the content that follows some of them.

    Holds a frame at most, and no content.
    """

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._content = 0  # how many bytes of it come next

    @property
    def is_between_messages(self) -> bool:
        """Whether the stream could end here."""
        return self._frames.is_empty and not self._content

    def take_untrusted(self, data: bytes | bytearray) -> Iterator[Message | memoryview]:
        """What the stream brought: messages, of which a Piece is told by its content only.

        Go through all of it before the next call. The content is a view of the data.

        Raises:
            RemoteProtocolError: it is not what the other side may say.
        """
        with memoryview(data) as view:
            position = 0
            while position < len(view):
                if self._content:
                    content = view[position : position + self._content]
                    self._content -= len(content)
                    position += len(content)
                    yield content
                    continue
                # A little at a time, as content may follow each frame.
                few = view[position : position + MAX_FRAME_BYTES]
                self._frames.feed(bytes(few))
                position += len(few)
                while (payload := self._frames.next_untrusted()) is not None:
                    message = decode_untrusted(payload)
                    if isinstance(message, Piece):
                        position -= len(self._frames.take_rest())
                        self._content = message.length
                        break
                    yield message
