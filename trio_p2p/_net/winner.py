"""The first of several resources wins and the rest is closed; the winner, too, if it is in vain."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Winner(Generic[T]):
    """Keeps the first resource that is offered.

    Use as a context manager around the nursery whose tasks make the resources. If an exception
    leaves the block, a cancellation included, the winner is closed: the caller never gets it.

    Args:
        close: closes a resource at once.

    Attributes:
        found: the first resource, or None as long as there is none.
    """

    def __init__(self, close: Callable[[T], object]) -> None:
        self.found: T | None = None
        self._close = close

    def offer(self, resource: T) -> bool:
        """Keep a resource if it is the first one, else close it; whether it is the first one."""
        if self.found is None:
            self.found = resource
            return True
        self._close(resource)
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None and self.found is not None:
            self._close(self.found)
