"""A connected socket whose first received bytes have to be the peer's proof.

A connection's opener could wait for the proof of the side that accepted, but that would cost a
whole round trip. So the proof is read, and removed, together with the first bytes of data: the
application never gets one byte from a wrong peer. Trio lets sockets be subclassed for such uses
(:class:`trio.abc.SocketFactory`), which :class:`trio.SocketStream`, being final, is not.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Self

import trio


class CheckedSocket(trio.socket.SocketType):
    """Passes everything on to a socket, once that has received the right proof."""

    def __init__(self, sock: trio.socket.SocketType, proof: bytes) -> None:
        self._sock = sock
        self._proof = proof
        self._received = bytearray()

    async def _check(self) -> None:
        """Read and remove the proof; if cancelled, what was read of it is kept."""
        while missing := len(self._proof) - len(self._received):
            data = await self._sock.recv(missing)
            if not data:
                break
            self._received += data
        if not hmac.compare_digest(self._received, self._proof):
            raise trio.BrokenResourceError(
                "whoever answered could not prove to be the introduced peer; open another stream"
            )

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
        return f"<checked {self._sock!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._sock.close()

    @staticmethod
    def _pass_on(name: str) -> Callable[..., Any]:
        def method(self: CheckedSocket, *args: Any, **kwargs: Any) -> Any:
            return getattr(self._sock, name)(*args, **kwargs)

        return method

    @staticmethod
    def _pass_on_checked(name: str) -> Callable[..., Any]:
        async def method(self: CheckedSocket, *args: Any, **kwargs: Any) -> Any:
            if len(self._received) < len(self._proof):
                await self._check()
            return await getattr(self._sock, name)(*args, **kwargs)

        return method

    @classmethod
    def pass_on_everything_else(cls) -> None:
        """Give this class all methods of a socket that it does not define itself."""
        for name, member in vars(trio.socket.SocketType).items():
            if name not in vars(cls) and callable(member):
                wrap = cls._pass_on_checked if name.startswith("recv") else cls._pass_on
                setattr(cls, name, wrap(name))


CheckedSocket.pass_on_everything_else()
