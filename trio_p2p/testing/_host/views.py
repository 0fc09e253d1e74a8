"""Simulated sockets as programs have them: a plain one, and one of Trio's.

Both are views of one :class:`TcpSocket`, as Trio's sockets are of plain ones: to close either
closes both. Neither has a descriptor.
"""

from __future__ import annotations

import operator
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self, TypeVar

import trio

from ..._net.os_errors import error_from
from .tcp_socket import TcpSocket

T = TypeVar("T")

_NO_DESCRIPTOR: Final = 1 << 30  # what an open socket says; a system call with it would fail


class PlainSocket(socket.socket):
    """A socket that does not block.

    Args:
        inner: what it is a view of.
    """

    def __init__(self, inner: TcpSocket) -> None:
        # Not the inherited one: it would open a descriptor.
        self.inner = inner

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<simulated socket {'closed' if self.inner.is_closed else 'open'}>"

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        return 0

    def fileno(self) -> int:
        return -1 if self.inner.is_closed else _NO_DESCRIPTOR

    def setsockopt(self, *arguments: Any) -> None:
        self.inner.set_option(*arguments)

    def getsockopt(self, *arguments: Any) -> Any:
        return self.inner.option(*arguments)

    def bind(self, address: Any) -> None:
        self.inner.bind(address)

    def listen(self, backlog: int = 128) -> None:
        self.inner.listen(backlog)

    def getsockname(self) -> Any:
        return self.inner.local

    def getpeername(self) -> Any:
        return self.inner.remote

    def recvmsg(self, *_arguments: Any) -> Any:
        """Give what is in the error queue, which is all that is received so."""
        return b"", self.inner.take_icmp_error(), 0, None

    def close(self) -> None:
        self.inner.close()


class TrioSocket(trio.socket.SocketType):
    """One of Trio's.

    Args:
        inner: what it is a view of.
    """

    def __init__(self, inner: TcpSocket) -> None:
        self.inner = inner
        self._has_ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<simulated Trio socket {'closed' if self.inner.is_closed else 'open'}>"

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        return 0

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802 - it is Trio's
        return self._has_ended

    def fileno(self) -> int:
        return -1 if self.inner.is_closed else _NO_DESCRIPTOR

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        self.inner.set_option(level, optname, value)

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        return self.inner.option(level, optname, buflen or 0)

    def listen(self, backlog: int = 128) -> None:
        self.inner.listen(backlog)

    def getsockname(self) -> Any:
        return self.inner.local

    def getpeername(self) -> Any:
        return self.inner.remote

    def shutdown(self, flag: int) -> None:
        if flag != socket.SHUT_RD:
            self.inner.shut_down()
            self._has_ended = True

    def close(self) -> None:
        self.inner.close()

    def is_readable(self) -> bool:
        return self.inner.is_readable

    async def bind(self, address: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.inner.bind(address)

    async def wait_writable(self) -> None:
        await self.inner.readiness.wait_writable()

    async def accept(self) -> tuple[trio.socket.SocketType, Any]:
        accepted = await self._when_ready(self.inner.accept, self.inner.readiness.wait_readable)
        return TrioSocket(accepted), accepted.peer

    async def connect(self, address: Any) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self.inner.start_connecting(address)
        try:
            await self.inner.readiness.wait_writable()
        except trio.Cancelled:
            self.close()  # as Trio does: it cannot be told how far the connection is
            raise
        error = self.inner.option(socket.SOL_SOCKET, socket.SO_ERROR)
        if isinstance(error, int) and error:
            raise error_from(error)

    async def recv(self, count: int, flags: int = 0, /) -> bytes:
        most = operator.index(count)

        def read() -> bytes:
            return self.inner.read(most, keeps=bool(flags & socket.MSG_PEEK))

        return await self._when_ready(read, self.inner.readiness.wait_readable)

    async def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        data = await self.recv(nbytes or len(buffer), flags)
        buffer[: len(data)] = data
        return len(data)

    async def send(self, data: Any, _flags: int = 0, /) -> int:
        with memoryview(data) as view:
            return await self._when_ready(
                lambda: self.inner.write(view), self.inner.readiness.wait_writable
            )

    async def _when_ready(self, call: Callable[[], T], wait: Callable[[], Awaitable[None]]) -> T:
        """Call something that does not wait as soon as it can be done, as Trio's sockets do."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            result = call()
        except BlockingIOError:
            pass
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return result
        while True:
            await wait()
            try:
                return call()
            except BlockingIOError:
                pass
