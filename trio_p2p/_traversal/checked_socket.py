"""A connected socket that proves and checks on the way who is at its two ends.

A connection's opener could wait for the proof of the other side, but that would cost a whole round
trip. So that proof is read, and removed, together with the first bytes of data: the application
never gets one byte from a wrong peer.

The other side's proof waits for its first bytes, or their end, in turn. It must not come
unasked: TCP resets a connection, and with it data on the way, when its reader has closed it
and something comes that nobody is going to read.

Trio lets sockets be subclassed for such uses (:class:`trio.abc.SocketFactory`), which
:class:`trio.SocketStream`, being final, is not.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Self

import trio

from .._errors import BusyError, WrongPeerError
from .._net.sockets import send_at_once
from .._net.system import current_system

BUSY_TIME = 1.0  # seconds after which to try again

_NOT_PROVEN = "the peer that answered could not prove to be the introduced one"


class CheckedSocket(trio.socket.SocketType):
    """Passes everything on to a socket, with a proof before it in one direction or in both.

    Args:
        sock: a connected socket that has not sent yet, if there is something to say.
        says: what to send before anything else; nothing if empty.
        expects: what has to come before anything else; nothing if empty.
        busy: what comes instead if the other side has no room for us.
    """

    def __init__(
        self,
        sock: trio.socket.SocketType,
        *,
        says: bytes = b"",
        expects: bytes = b"",
        busy: bytes = b"",
    ) -> None:
        self._sock = sock
        self._says = says
        self._expects = expects
        self._busy = busy
        self._received = bytearray()
        if not says:
            self._step_aside("send")
        if not expects:
            self._step_aside("recv")

    async def _check(self) -> None:
        """Read and remove the other side's proof; if cancelled, what was read of it is kept."""
        while missing := len(self._expects) - len(self._received):
            data = await self._sock.recv(missing)
            if not data:
                break
            self._received += data
        if self._busy and hmac.compare_digest(self._received, self._busy):
            error = BusyError("the receiver has no room now", retry_after=BUSY_TIME)
            raise trio.BrokenResourceError(f"{error}: open another stream") from error
        if not hmac.compare_digest(self._received, self._expects):
            # One that ends before it has said anything wrong may have been the peer's.
            is_wrong = not self._expects.startswith(bytes(self._received))
            raise trio.BrokenResourceError(f"{_NOT_PROVEN}; open another stream") from (
                WrongPeerError(_NOT_PROVEN) if is_wrong else None
            )
        self._step_aside("recv")

    def _prove(self) -> None:
        """Send our proof, unless it has been sent; the socket's buffer, being empty, has room."""
        if self._says:
            says, self._says = self._says, b""
            self._step_aside("send")
            send_at_once(self._sock, says)

    def _step_aside(self, prefix: str) -> None:
        """Leave methods to the socket itself from now on: they cost what a bare one's do."""
        for name in vars(trio.socket.SocketType):
            if name.startswith(prefix):
                setattr(self, name, getattr(self._sock, name))

    def detach(self) -> int:
        self._prove()
        return self._sock.detach()

    def shutdown(self, flag: int) -> None:
        is_proving = bool(self._says)
        self._prove()
        try:
            self._sock.shutdown(flag)
        except OSError:
            # The proof came to a peer that had closed without waiting for anything, and reset the
            # connection. An end alone would not have.
            if not is_proving:
                raise

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            with suppress(OSError):
                self._prove()
            # To close with the other side's proof unread would reset the connection.
            if missing := len(self._expects) - len(self._received):
                with suppress(OSError):
                    current_system().read_into(self._sock, memoryview(bytearray(missing)))
        self._sock.close()

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
        self.close()

    @staticmethod
    def _pass_on(name: str) -> Callable[..., Any]:
        def method(self: CheckedSocket, *args: Any, **kwargs: Any) -> Any:
            return getattr(self._sock, name)(*args, **kwargs)

        return method

    @staticmethod
    def _pass_on_checked(name: str) -> Callable[..., Any]:
        async def method(self: CheckedSocket, *args: Any, **kwargs: Any) -> Any:
            await self._check()
            return await getattr(self._sock, name)(*args, **kwargs)

        return method

    @staticmethod
    def _pass_on_proven(name: str) -> Callable[..., Any]:
        async def method(self: CheckedSocket, *args: Any, **kwargs: Any) -> Any:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._prove()
            return await getattr(self._sock, name)(*args, **kwargs)

        return method

    @classmethod
    def pass_on_everything_else(cls) -> None:
        """Give this class all methods of a socket that it does not define itself."""
        for name, member in vars(trio.socket.SocketType).items():
            if name not in vars(cls) and callable(member):
                wrap = cls._WRAPPERS.get(name[:4], cls._pass_on)
                setattr(cls, name, wrap(name))

    _WRAPPERS: ClassVar = {"recv": _pass_on_checked, "send": _pass_on_proven}


CheckedSocket.pass_on_everything_else()
