"""The router that may map ports is found, or there is none."""

from ipaddress import IPv4Address

import pytest

from trio_p2p._portmap import routers
from trio_p2p._portmap.routers import find_router

LOOPBACK = IPv4Address("127.0.0.1")


def test_route_that_goes_while_we_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OSError

    monkeypatch.setattr(routers, "find_default_gateway", lambda: LOOPBACK)
    monkeypatch.setattr(routers, "local_address_towards", fail)
    assert find_router() is None
