"""Keeps what goes wrong with one party away from all others."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import cast


class Barrier:
    """A context manager that logs whatever goes wrong in its block, once, and goes on behind it.

    Every task that serves one connection, circuit, introduction, stream or search has one of its
    own, in a nursery that serves others, too. Cancellation passes.

    Args:
        logger: the logger that errors go to.
        what: what the block does: the beginning of the log line.
    """

    __slots__ = ("_logger", "_what")  # there is one for each idle connection of a broker

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        if error is None:
            return False
        failed, rest = _split(error)
        if failed is not None:
            self._logger.error("%s failed and was ended", self._what, exc_info=failed)
        if failed is not None and rest is not None:
            raise rest from None
        return failed is not None


def _split(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What is an error, and what is a cancellation or the like: nurseries wrap both together."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(Exception)
    return (error, None) if isinstance(error, Exception) else (None, error)
