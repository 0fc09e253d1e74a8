"""A name of the broker that no resolver knows."""

import socket
from typing import Any

import trio

from trio_p2p._addresses import IPAddress


class Names(trio.abc.HostnameResolver):
    """Knows the broker's name, which stands for some addresses."""

    def __init__(self, *addresses: IPAddress) -> None:
        self._addresses = addresses

    async def getaddrinfo(  # noqa: PLR0917 - it is Trio's
        self,
        host: bytes | str | None,  # noqa: ARG002
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,  # noqa: ARG002
    ) -> list[Any]:
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        found = [
            (families[each.version], type, proto, "", (str(each), port))
            for each in self._addresses
            if family in (socket.AF_UNSPEC, families[each.version])
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError
