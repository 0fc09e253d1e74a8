"""What the taking side has asked for, and whether the answers are to that. Pure."""

from __future__ import annotations

from collections import deque

import attrs

from .._errors import RemoteProtocolError
from .messages import Begin


@attrs.frozen
class Request:
    """A file that was asked for.

    Attributes:
        entry: its number.
        size: its size in bytes.
        offset: how many bytes of it are here already.
        is_whole: whether these are a complete file, and not a part of one.
    """

    entry: int
    size: int
    offset: int = 0
    is_whole: bool = False


class Order:
    """Requests in the order in which they were made, which is that of their answers."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()
        self._left: int | None = None  # bytes of the first one's content; None before it begins

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: Request) -> None:
        """Note that a file is asked for."""
        self._requests.append(request)

    def begin_untrusted(self, message: Begin) -> Request:
        """What was asked for, and begins.

        Raises:
            RemoteProtocolError: that was not asked for.
        """
        if not self._requests or self._left is not None:
            raise RemoteProtocolError("a file begins that is not its turn")
        request = self._requests[0]
        if message.entry != request.entry or (message.digest is None) != (request.offset == 0):
            raise RemoteProtocolError("another file begins than the one that was asked for")
        self._left = request.size - request.offset
        return request

    def content_untrusted(self, length: int) -> None:
        """Note so many bytes of content.

        Raises:
            RemoteProtocolError: they are too many.
        """
        if self._left is None or length > self._left:
            raise RemoteProtocolError("a file has more bytes than were offered")
        self._left -= length

    def end_untrusted(self) -> None:
        """Note that a file is complete.

        Raises:
            RemoteProtocolError: it is not.
        """
        if self._left != 0:
            raise RemoteProtocolError("a file has fewer bytes than were offered")
        self._requests.popleft()
        self._left = None

    def fail_untrusted(self) -> Request:
        """The file that does not come, or not to its end.

        Raises:
            RemoteProtocolError: none was asked for.
        """
        if not self._requests:
            raise RemoteProtocolError("a file fails that was not asked for")
        self._left = None
        return self._requests.popleft()
