"""One port of several addresses."""

import errno
import socket
from collections.abc import Sequence

import pytest
import trio

from trio_p2p._net.listening import Host, open_listeners
from trio_p2p._net.system import System, system_in_use

from ..kit.loopback import held


def ports_of(listeners: Sequence[trio.SocketListener]) -> list[tuple[str, int]]:
    found = [listener.socket.getsockname()[:2] for listener in listeners]
    for listener in listeners:
        listener.socket.close()
    return found


@pytest.mark.parametrize("hosts", [["127.0.0.1", "127.0.0.2", "::1"], [None]])
async def test_same_port_of_all_addresses(hosts: Sequence[Host]) -> None:
    addresses = ports_of(await open_listeners(0, hosts))
    assert len(addresses) >= 2
    assert len({port for _, port in addresses}) == 1
    assert ports_of(await open_listeners(addresses[0][1], hosts)) == addresses


async def test_host_that_is_named_twice_is_listened_on_once() -> None:
    assert len(ports_of(await open_listeners(0, ["127.0.0.1", "127.0.0.1"]))) == 1


async def test_another_port_is_chosen_if_one_is_taken_elsewhere() -> None:
    class Taken(System):
        tries = 0

        async def open_listeners(
            self, port: int, host: str | bytes | None, backlog: int
        ) -> list[trio.SocketListener]:
            if port and self.tries < 3:
                self.tries += 1
                raise OSError(errno.EADDRINUSE, "taken")
            return await super().open_listeners(port, host, backlog)

    system = Taken()
    with system_in_use(system):
        addresses = ports_of(await open_listeners(0, ["127.0.0.1", "127.0.0.2"]))
    assert system.tries == 3
    assert [host for host, _ in addresses] == ["127.0.0.1", "127.0.0.2"]
    assert len({port for _, port in addresses}) == 1


async def test_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port, before = taken.getsockname()[1], held()
        with pytest.raises(OSError, match="in use"):
            await open_listeners(port, ["127.0.0.1", "127.0.0.2"])
        assert held() == before  # what was open by then is closed


async def test_host_without_one_version_of_ip() -> None:
    class Lacking(System):
        async def open_listeners(
            self, port: int, host: str | bytes | None, backlog: int
        ) -> list[trio.SocketListener]:
            if ":" in str(host):
                raise OSError(errno.EAFNOSUPPORT, "no IPv6")
            return await super().open_listeners(port, host, backlog)

    with system_in_use(Lacking()):
        assert len(ports_of(await open_listeners(0, ["::1", "127.0.0.1"]))) == 1
        with pytest.raises(OSError, match="no IPv6"):
            await open_listeners(0, ["::1"])
