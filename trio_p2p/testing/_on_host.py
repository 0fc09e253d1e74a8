"""A peer whose methods run on its host, from whichever task they are called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

from .._net.system import System, system_in_use
from .._peer.peer import Peer

T = TypeVar("T")


class OnHost(AbstractAsyncContextManager[T]):
    """A context manager that begins and ends on a host, while its block runs where it stands.

    Args:
        system: the host's.
        inner: the context manager.
    """

    def __init__(self, system: System, inner: AbstractAsyncContextManager[T]) -> None:
        self._system = system
        self._inner = inner

    async def __aenter__(self) -> T:
        with system_in_use(self._system):
            return await self._inner.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        with system_in_use(self._system):
            return await self._inner.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - its own matter


class HostPeer(Peer):
    """A peer, once more: of the same parts, but with methods that run on its host.

    Args:
        peer: the peer.
        system: its host's.
    """

    def __init__(self, peer: Peer, system: System) -> None:
        # Not the inherited one, which would make another peer.
        vars(self).update(vars(peer))
        self.system = system


def _on_host(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a peer, on its host."""
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def call(self: HostPeer, *args: Any, **kwargs: Any) -> Any:
            with system_in_use(self.system):
                return await method(self, *args, **kwargs)

        return call

    @functools.wraps(method)
    def manage(self: HostPeer, *args: Any, **kwargs: Any) -> Any:
        return OnHost(self.system, method(self, *args, **kwargs))

    return manage


for _name in (
    *("connect", "listen", "listen_raw", "open_raw_stream", "open_stream"),
    *("serve", "survey", "watch"),
):
    setattr(HostPeer, _name, _on_host(vars(Peer)[_name]))
