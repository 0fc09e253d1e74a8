"""Routers are asked in UPnP through miniupnpc, which blocks and raises what it likes."""

import sys
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from types import ModuleType

import attrs
import pytest
import trio

from trio_p2p._addresses import Endpoint
from trio_p2p._portmap import port_mapping, upnp
from trio_p2p._portmap.attempts import (
    MappingAttempt,
    MappingOutcome,
    MappingProtocol,
    PortMappingError,
)
from trio_p2p._portmap.port_mapping import LIFETIME, open_port_mapping
from trio_p2p._portmap.router_report import ProtocolReport, report_on_router

from ..kit.fake_router import EXTERNAL, PORT, hurried as hurried, set_gateway
from ..kit.loopback import until

UPNP = MappingProtocol.UPNP
HOST = "192.168.1.2"
PATIENCE = 60.0
SHORT = 1


@attrs.define(eq=False)
class FakeIgd:
    """Stands for the module's class and for its instance, and for the router behind them.

    Attributes:
        mappings: internal address, internal port and lease by external port.
        fails: how many of the next calls of a name fail, and with what.
        stops_at: the name that makes who calls it wait.
        may_go_on: who calls something waits until it is set, in its thread.
        called: the names of what was called.
    """

    lanaddr: str = HOST
    external: str = str(EXTERNAL)
    is_permanent_only: bool = False
    mappings: dict[int, tuple[str, int, int]] = attrs.Factory(dict)
    fails: dict[str, int] = attrs.Factory(dict)
    stops_at: str = ""
    called: list[str] = attrs.Factory(list)
    may_go_on: threading.Event = attrs.Factory(threading.Event)

    def __attrs_post_init__(self) -> None:
        self.may_go_on.set()

    def _call(self, name: str) -> None:
        self.called.append(name)
        if name == self.stops_at:
            self.may_go_on.clear()
        assert self.may_go_on.wait(PATIENCE)
        if self.fails.get(name, 0):
            self.fails[name] -= 1
            raise Exception(f"{name} failed")  # noqa: TRY002 - as miniupnpc does

    def make(self, *, multicastif: str, discoverdelay: int) -> "FakeIgd":
        IPv4Address(multicastif)
        assert discoverdelay == 1000
        return self

    def discover(self) -> int:
        self._call("discover")
        return 1

    def selectigd(self) -> str:
        self._call("selectigd")
        return "http://192.168.1.1/"

    def externalipaddress(self) -> str:
        self._call("externalipaddress")
        return self.external

    def addportmapping(  # noqa: PLR0917 - it is miniupnpc's
        self,
        external_port: int,
        protocol: str,
        address: str,
        port: int,
        description: str,
        remote: str,
        lease: int,
    ) -> bool:
        self._call("addportmapping")
        assert (protocol, description, remote) == ("TCP", "trio_p2p", "")
        if self.mappings.get(external_port, (address,))[0] != address:
            raise Exception("ConflictInMappingEntry")  # noqa: TRY002
        if self.is_permanent_only and lease:
            raise Exception("OnlyPermanentLeasesSupported")  # noqa: TRY002
        self.mappings[external_port] = address, port, lease
        return True

    def deleteportmapping(self, external_port: int, protocol: str) -> bool:
        self._call("deleteportmapping")
        assert protocol == "TCP"
        del self.mappings[external_port]
        return True


@pytest.fixture
def igd(monkeypatch: pytest.MonkeyPatch) -> FakeIgd:
    made = FakeIgd()
    module = ModuleType("miniupnpc")
    module.UPnP = made.make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "miniupnpc", module)
    monkeypatch.setattr(upnp, "local_address_towards", lambda _: IPv4Address(HOST))
    set_gateway(monkeypatch, None)
    return made


async def failure() -> MappingAttempt:
    with trio.fail_after(PATIENCE), pytest.raises(PortMappingError) as caught:
        async with open_port_mapping(PORT, protocols=[UPNP]):
            pass
    [attempt] = caught.value.attempts
    return attempt


async def test_mapping_is_made_and_deleted(igd: FakeIgd) -> None:
    async with open_port_mapping(PORT, protocols=[UPNP]) as mapping:
        assert igd.mappings == {PORT: (HOST, PORT, LIFETIME)}
        assert mapping.external == Endpoint(EXTERNAL, PORT)
        assert (mapping.protocol, mapping.lifetime) == (UPNP, LIFETIME)
        assert mapping.is_public
    assert igd.mappings == {}


async def test_router_that_knows_permanent_mappings_only(igd: FakeIgd) -> None:
    igd.is_permanent_only = True
    async with open_port_mapping(PORT, protocols=[UPNP]) as mapping:
        assert igd.mappings == {PORT: (HOST, PORT, 0)}
        assert mapping.lifetime == LIFETIME  # after half of which it is looked after
    assert igd.mappings == {}


@pytest.mark.parametrize("is_permanent_only", [False, True])
async def test_port_of_another_host_is_not_taken(igd: FakeIgd, *, is_permanent_only: bool) -> None:
    igd.is_permanent_only = is_permanent_only
    igd.mappings[PORT] = "192.168.1.9", 80, 0
    async with open_port_mapping(PORT, protocols=[UPNP]) as mapping:
        assert mapping.external is not None
        port = mapping.external.port
        assert port in upnp.FREE_PORTS
        assert igd.mappings[port][:2] == (HOST, PORT)
    assert list(igd.mappings) == [PORT]


@pytest.mark.usefixtures("hurried")
async def test_mapping_is_renewed_without_a_search(igd: FakeIgd) -> None:
    async with open_port_mapping(PORT, protocols=[UPNP], lifetime=SHORT):
        await until(lambda: igd.called.count("addportmapping") == 2)
        assert igd.called.count("discover") == 1


@pytest.mark.usefixtures("hurried")
async def test_router_that_is_controlled_from_elsewhere_now_is_searched_for(igd: FakeIgd) -> None:
    async with open_port_mapping(PORT, protocols=[UPNP], lifetime=SHORT) as mapping:
        igd.mappings.clear()
        igd.fails["externalipaddress"] = 1
        await until(lambda: list(igd.mappings) == [PORT])
        assert igd.called.count("discover") == 2
        assert mapping.external == Endpoint(EXTERNAL, PORT)


@pytest.mark.usefixtures("hurried")
async def test_port_that_another_host_took_meanwhile(igd: FakeIgd) -> None:
    async with open_port_mapping(PORT, protocols=[UPNP], lifetime=SHORT) as mapping:
        first = mapping.external
        igd.mappings[PORT] = "192.168.1.9", 80, 0
        with trio.fail_after(PATIENCE):
            second = await mapping.wait_changed(first)
        assert second is not None
        assert list(igd.mappings) == [PORT, second.port]
    assert list(igd.mappings) == [PORT]


@pytest.mark.parametrize(
    ("name", "detail"),
    [("discover", "no router answered the search"), ("selectigd", "selectigd failed")],
)
async def test_no_router(igd: FakeIgd, name: str, detail: str) -> None:
    igd.fails[name] = 1
    assert await failure() == MappingAttempt(UPNP, MappingOutcome.ABSENT, detail)


async def test_router_that_refuses(igd: FakeIgd) -> None:
    igd.fails["addportmapping"] = 4
    assert await failure() == MappingAttempt(UPNP, MappingOutcome.REFUSED, "addportmapping failed")


@pytest.mark.parametrize("claimed", ["", "0.0.0.0", "::1", "a.b.c.d", "11.22.33.44 " * 5])
async def test_external_address_that_is_none(igd: FakeIgd, claimed: str) -> None:
    igd.external = claimed
    assert (await failure()).outcome is MappingOutcome.MALFORMED
    assert igd.mappings == {}


async def test_not_installed(igd: FakeIgd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "miniupnpc", None)
    assert await failure() == MappingAttempt(UPNP, MappingOutcome.NOT_INSTALLED)


async def test_offline(igd: FakeIgd, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(upnp, "local_address_towards", fail)
    assert await failure() == MappingAttempt(UPNP, MappingOutcome.UNREACHABLE, "no route")
    assert igd.called == []


async def test_router_that_never_ends_its_answer(
    igd: FakeIgd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upnp, "ANSWER_TIME", 0.05)
    igd.may_go_on.clear()
    assert await failure() == MappingAttempt(UPNP, MappingOutcome.SILENT)
    igd.may_go_on.set()


async def test_report(igd: FakeIgd) -> None:
    assert await report_on_router([UPNP]) == [ProtocolReport(UPNP, EXTERNAL)]
    assert "addportmapping" not in igd.called


@pytest.mark.parametrize("name", ["discover", "selectigd", "externalipaddress", "addportmapping"])
async def test_cancelled_while_the_thread_is_at_it(igd: FakeIgd, name: str) -> None:
    """Nobody waits for the thread; and what it maps after all, it deletes."""
    igd.stops_at = name
    with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_when, lambda: name in igd.called, scope)
            async with open_port_mapping(PORT, protocols=[UPNP]):
                pass
    igd.may_go_on.set()
    if name == "addportmapping":
        await until(lambda: "deleteportmapping" in igd.called)
    await until(lambda: not upnp_threads_at_work())
    assert igd.mappings == {}


async def test_deletion_that_takes_long_goes_on_in_its_thread(
    igd: FakeIgd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_mapping, "DELETION_TIME", 0.05)
    async with open_port_mapping(PORT, protocols=[UPNP]):
        igd.may_go_on.clear()
    assert list(igd.mappings) == [PORT]
    igd.may_go_on.set()
    await until(lambda: igd.mappings == {})


async def cancel_when(is_so: Callable[[], bool], scope: trio.CancelScope) -> None:
    await until(is_so)
    scope.cancel(reason="test")


def upnp_threads_at_work() -> int:
    return trio.to_thread.current_default_thread_limiter().borrowed_tokens


@pytest.fixture(autouse=True)
def real_time(igd: FakeIgd) -> Iterator[None]:
    yield
    igd.may_go_on.set()
