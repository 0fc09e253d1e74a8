"""Sockets that pass every call on to real ones, and say so before."""

import socket
from collections.abc import Callable
from typing import Any, Self

import trio

# The methods of Trio's sockets that may wait, and those of its other methods that are system calls.
_ASYNC = {
    *("accept", "bind", "connect", "wait_writable"),
    *("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"),
    *("send", "sendmsg", "sendto"),
}
_SYNC = {"getpeername", "getsockname", "getsockopt", "setsockopt", "listen", "shutdown"}
_PLAIN = (_ASYNC | _SYNC | {"connect_ex"}) - {"wait_writable"}


class AskingSocket(socket.socket):
    """A plain socket.

    Attributes:
        ask: called with the name of each call before it is made; what it raises, that raises.
        adopted: the socket of Trio's that it was turned into; to close either closes both.
    """

    ask: Callable[[str], None]
    adopted: trio.socket.SocketType | None = None

    def close(self) -> None:
        super().close()
        if self.adopted is not None:
            self.adopted.close()


class AskingTrioSocket(trio.socket.SocketType):
    """One of Trio's.

    Args:
        sock: a real one.
        ask: called with the name of each call before it is made; what it raises, that raises.
    """

    def __init__(self, sock: trio.socket.SocketType, ask: Callable[[str], None]) -> None:
        self._sock = sock
        self._ask = ask

    @property
    def family(self) -> Any:
        return self._sock.family

    @property
    def type(self) -> Any:
        return self._sock.type

    @property
    def proto(self) -> int:
        return self._sock.proto

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802
        return self._sock.did_shutdown_SHUT_WR

    def __repr__(self) -> str:
        return f"<asking {self._sock!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._sock.close()

    async def accept(self) -> tuple[trio.socket.SocketType, Any]:
        self._ask("accept")
        sock, address = await self._sock.accept()
        return AskingTrioSocket(sock, self._ask), address


def _plain(name: str) -> Callable[..., Any]:
    def call(self: AskingSocket, *args: Any, **kwargs: Any) -> Any:
        self.ask(name)
        return getattr(socket.socket, name)(self, *args, **kwargs)

    return call


def _passed_on(name: str) -> Callable[..., Any]:
    def call(self: AskingTrioSocket, *args: Any, **kwargs: Any) -> Any:
        if name in _SYNC:
            self._ask(name)
        return getattr(self._sock, name)(*args, **kwargs)

    return call


def _awaited(name: str) -> Callable[..., Any]:
    async def call(self: AskingTrioSocket, *args: Any, **kwargs: Any) -> Any:
        self._ask(name)
        return await getattr(self._sock, name)(*args, **kwargs)

    return call


for _name in _PLAIN:
    setattr(AskingSocket, _name, _plain(_name))
for _name, _member in list(vars(trio.socket.SocketType).items()):
    if callable(_member) and _name not in vars(AskingTrioSocket) and not _name.startswith("__"):
        setattr(AskingTrioSocket, _name, (_awaited if _name in _ASYNC else _passed_on)(_name))
