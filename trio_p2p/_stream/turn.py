"""What each method of a stream owes its callers: one task at a time, cancellation first."""

from __future__ import annotations

from types import TracebackType

import trio


class Turn:
    """What one task at a time may do.

    Args:
        complaint: what to say to another task that tries.
    """

    __slots__ = ("_complaint", "_is_taken")

    def __init__(self, complaint: str) -> None:
        self._complaint = complaint
        self._is_taken = False

    def __enter__(self) -> None:
        if self._is_taken:
            raise trio.BusyResourceError(self._complaint)
        self._is_taken = True

    def __exit__(self, *exception: object) -> None:
        self._is_taken = False


class CancelledFirst:
    """A context that a cancelled task leaves as cancelled, not asking what became of the stream."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc_value, (trio.BrokenResourceError, trio.ClosedResourceError)):
            await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC102 - cancelled is wanted
