"""That this host has moved is noticed: by what the kernel tells, and without that; once for all."""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
import trio
import trio.testing

from trio_p2p import open_peer
from trio_p2p._addresses import Endpoint, IPAddress
from trio_p2p._errors import BrokerUnreachableError
from trio_p2p._net import network_changes
from trio_p2p._net.gateway import find_route
from trio_p2p._net.network_changes import (
    cancel_when_network_changes,
    current_network,
    network_remembered,
    wait_network_changed,
    wait_stranded,
)
from trio_p2p._net.routes import SOMEWHERE, SOMEWHERE_IPV6, KernelRoute, RouteNews
from trio_p2p._net.sleeps import Sleeps
from trio_p2p._net.system import System, system_in_use

from ..kit.faulty_system import Fault, FaultySystem
from ..kit.lab import KernelNetwork, Nat, Site, run
from ..kit.loopback import held, nobody_listening, until
from ..kit.moving_site import PATIENCE, REMOTE, Wait, move, start_waiting

QUIET_TIME = 0.2  # seconds in which nothing is noticed, as there is nothing


async def wait_for_another_network(_site: Site) -> None:
    await wait_network_changed(current_network())


async def wait_for_stranding(site: Site) -> None:
    await wait_stranded(site.host_address, REMOTE)


WAITS = [wait_for_another_network, wait_for_stranding]
EVERY_WAIT = pytest.mark.parametrize("wait", WAITS)


@pytest.fixture(params=["told", "polling"])
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With netlink, and as it is on systems that have none."""
    if request.param == "polling":
        monkeypatch.delattr(socket, "AF_NETLINK")
        monkeypatch.setattr(network_changes, "POLLING_TIME", 0.02)


@EVERY_WAIT
def test_another_address(kernel_network: KernelNetwork, mechanism: None, wait: Wait) -> None:
    site = kernel_network.add_site(Nat())
    waiting = start_waiting(site, wait)
    move(site, last=7)
    waiting.result(PATIENCE)


@EVERY_WAIT
@pytest.mark.parametrize("line", ["route del default", "link set lan down", "address flush lan"])
def test_no_way_out_any_more(kernel_network: KernelNetwork, wait: Wait, line: str) -> None:
    site = kernel_network.add_site(Nat())
    waiting = start_waiting(site, wait)
    site.host.ip(line)
    waiting.result(PATIENCE)


def test_a_way_out_at_last(kernel_network: KernelNetwork, mechanism: None) -> None:
    site = kernel_network.add_site(Nat())
    site.host.ip("route del default")
    waiting = start_waiting(site, wait_for_another_network)
    site.host.ip(f"route add default via {site.host_address - 1}")
    waiting.result(PATIENCE)


@EVERY_WAIT
def test_another_router_for_the_same_address(kernel_network: KernelNetwork, wait: Wait) -> None:
    site = kernel_network.add_site(Nat())
    waiting = start_waiting(site, wait)
    site.host.ip(f"route replace default via {site.host_address + 7} dev lan")
    waiting.result(PATIENCE)


def test_another_address_for_ipv6(kernel_network: KernelNetwork) -> None:
    site = kernel_network.add_site(Nat())
    waiting = start_waiting(site, wait_for_another_network)
    site.host.ip(
        "address add 2001:db8::7/64 dev lan nodad", "route add default via 2001:db8::1 dev lan"
    )
    waiting.result(PATIENCE)


def test_connection_from_where_we_are_not_any_more(kernel_network: KernelNetwork) -> None:
    site = kernel_network.add_site(Nat())
    move(site, last=7)
    run(site.host, wait_for_stranding, site)
    site.host.ip("route del default")
    run(site.host, wait_for_stranding, site)


@EVERY_WAIT
def test_what_changes_nothing_for_us(
    kernel_network: KernelNetwork, mechanism: None, wait: Wait
) -> None:
    site = kernel_network.add_site(Nat())

    async def main() -> bool:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(QUIET_TIME) as scope:
                nursery.start_soon(disturb)
                await wait(site)
        return scope.cancelled_caught

    async def disturb() -> None:
        for number in range(1, 4):
            site.host.ip(
                f"address add 192.0.2.{number}/32 dev lo",
                f"route add blackhole 198.18.{number}.0/24",
            )
            await trio.sleep(QUIET_TIME / 5)

    assert run(site.host, main)


def test_many_wait_with_one_socket_and_each_may_leave(kernel_network: KernelNetwork) -> None:
    site = kernel_network.add_site(Nat())

    async def main() -> None:
        before = held()
        async with trio.open_nursery() as nursery:
            scopes = [trio.CancelScope() for _ in range(5)]
            for scope in scopes:
                nursery.start_soon(wait_in, scope)
            await trio.testing.wait_all_tasks_blocked()
            assert held().descriptors == before.descriptors + 1
            for scope in scopes[:3]:  # of which the first one reads for all
                scope.cancel()
                await trio.testing.wait_all_tasks_blocked()
            move(site, last=7)
        assert [scope.cancelled_caught for scope in scopes] == [True] * 3 + [False] * 2
        assert held() == before

    async def wait_in(scope: trio.CancelScope) -> None:
        with scope:
            await wait_for_stranding(site)

    run(site.host, main)


class ForgetfulSystem(System):
    """A system with hardly any room for news.

    Attributes:
        heard: how often somebody wanted to hear them.
    """

    def __init__(self) -> None:
        self.heard = 0

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        sock = super().open_socket(family, kind, protocol)
        if family == socket.AF_NETLINK:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        return sock

    def open_route_news(self) -> RouteNews | None:
        self.heard += 1
        return super().open_route_news()


def overwhelm(site: Site) -> None:
    """Change more than there is room for."""
    site.host.ip(*(f"address add 192.0.2.{number}/32 dev lo" for number in range(1, 100)))
    move(site, last=7)


def test_news_that_were_lost_for_want_of_room(
    kernel_network: KernelNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_changes, "SETTLING_TIME", 0.5)
    site, system = kernel_network.add_site(Nat()), ForgetfulSystem()
    with system_in_use(system):
        waiting = start_waiting(site, *WAITS)
    overwhelm(site)
    waiting.result(PATIENCE)
    assert system.heard == 1


def test_without_descriptors_no_connection_is_given_up(
    kernel_network: KernelNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = kernel_network.add_site(Nat())

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    async def main() -> None:
        monkeypatch.setattr(network_changes, "find_route", fail)
        with trio.move_on_after(QUIET_TIME) as scope:
            await wait_for_stranding(site)
        assert scope.cancelled_caught

    run(site.host, main)


def test_cancelling_what_was_begun_elsewhere(kernel_network: KernelNetwork) -> None:
    site = kernel_network.add_site(Nat())

    async def main() -> None:
        known = current_network()
        move(site, last=7)
        with trio.CancelScope() as scope:
            await cancel_when_network_changes(scope, known)
            await trio.sleep(PATIENCE)
        assert scope.cancelled_caught

    run(site.host, main)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Endpoint]:
    """Where routes were asked for, each time."""
    asked: list[Endpoint] = []

    def note(remote: Endpoint, source: IPAddress | None = None) -> KernelRoute:
        asked.append(remote)
        return find_route(remote, source)

    monkeypatch.setattr(network_changes, "find_route", note)
    return asked


def test_network_is_remembered_until_it_changes(
    kernel_network: KernelNetwork, looks: list[Endpoint]
) -> None:
    site = kernel_network.add_site(Nat())

    async def main() -> None:
        with network_remembered():
            first = current_network()
            assert current_network() == first
            assert looks == [SOMEWHERE, SOMEWHERE_IPV6]
            move(site, last=7)
            assert current_network() != first  # though nobody has read the news
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_network_changed, first)
                nursery.start_soon(wait_network_changed, current_network())
                await until(lambda: not network_changes._news.get()._is_pending())
                second = current_network()  # the news are read
                looks.clear()
                assert current_network() == second
                assert not looks
                nursery.cancel_scope.cancel()
        assert current_network() == second
        assert looks

    run(site.host, main)


def test_sender_looks_for_the_network_once(
    kernel_network: KernelNetwork, looks: list[Endpoint]
) -> None:
    site = kernel_network.add_site(Nat())

    async def main() -> None:
        with nobody_listening() as broker:
            async with open_peer(broker) as sender:
                with pytest.raises(BrokerUnreachableError):
                    await sender.open_stream("receiver")

    run(site.host, main)
    assert looks.count(SOMEWHERE) == 1


def test_network_is_looked_for_each_time_if_nobody_tells_of_changes(
    kernel_network: KernelNetwork, looks: list[Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = kernel_network.add_site(Nat())

    async def main() -> None:
        first = current_network()
        assert current_network() == first
        assert len(looks) == 4  # nobody wants it remembered
        with monkeypatch.context() as elsewhere:
            elsewhere.delattr(socket, "AF_NETLINK")
            with network_remembered():
                second = current_network()  # of which the gateway is not known
                move(site, last=7)
                assert current_network() != second

    run(site.host, main)


def test_network_when_news_were_lost_for_want_of_room(
    kernel_network: KernelNetwork,
) -> None:
    site, system = kernel_network.add_site(Nat()), ForgetfulSystem()

    async def main() -> None:
        with network_remembered():
            first = current_network()
            overwhelm(site)
            second = current_network()
            assert second.routes not in (first.routes, (None, None))
            assert current_network() == second
        assert system.heard == 1

    with system_in_use(system):
        run(site.host, main)


@pytest.mark.parametrize("failing", ["open_socket", "bind"])
async def test_sandbox_without_netlink(failing: str) -> None:
    before = held()
    system = FaultySystem(Fault(failing, error=errno.EPERM), looks_into_routes=True)
    assert system.open_route_news() is None
    assert held() == before


# What is as good as before


def test_address_that_is_not_preferred_any_more_is_kept(
    kernel_network: KernelNetwork, mechanism: None
) -> None:
    site = kernel_network.add_site(Nat())
    site.host.ip(
        "address add 2001:db8::7/64 dev lan nodad", "route add default via 2001:db8::1 dev lan"
    )
    remote = Endpoint(IPv6Address("2001:db8:ffff::1"), 443)
    router, old = site.host_address - 1, site.host_address

    async def main() -> bool:
        with network_remembered():
            before = current_network()
            with trio.move_on_after(2 * QUIET_TIME) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait_network_changed, before)
                    nursery.start_soon(wait_stranded, IPv6Address("2001:db8::7"), remote)
                    nursery.start_soon(wait_stranded, old, REMOTE)
                    await trio.testing.wait_all_tasks_blocked()
                    site.host.ip(
                        "address change 2001:db8::7/64 dev lan preferred_lft 0",
                        "address add 2001:db8::8/64 dev lan nodad",
                        f"address add {old + 6}/24 dev lan",
                        f"route replace default via {router} dev lan src {old + 6}",
                    )
                    await trio.sleep(QUIET_TIME)
                    assert find_route(remote).source == IPv6Address("2001:db8::8")
                    assert find_route(REMOTE).source == old + 6
        return scope.cancelled_caught

    assert run(site.host, main)


def test_address_that_is_gone_is_noticed_though_another_one_is_there(
    kernel_network: KernelNetwork, mechanism: None
) -> None:
    site = kernel_network.add_site(Nat())
    router, old = site.host_address - 1, site.host_address
    site.host.ip(
        f"address add {old + 6}/24 dev lan", f"route replace default via {router} dev lan src {old}"
    )
    waiting = start_waiting(site, wait_for_another_network, wait_for_stranding)
    site.host.ip(
        f"route replace default via {router} dev lan src {old + 6}",
        f"address del {old}/24 dev lan",
        f"address add {old + 6}/24 dev lan",
        f"route replace default via {router} dev lan",
    )
    waiting.result(PATIENCE)


def test_versions_of_ip_are_looked_at_one_by_one(kernel_network: KernelNetwork) -> None:
    site = kernel_network.add_site(Nat())

    def add_ipv6() -> tuple[bool, bool, bool]:
        before = [current_network(*versions) for versions in ((4,), (6,), ())]
        site.host.ip(
            "address add 2001:db8::7/64 dev lan nodad", "route add default via 2001:db8::1 dev lan"
        )
        after = [current_network(*versions) for versions in ((4,), (6,), ())]
        one, two, three = (a == b for a, b in zip(before, after, strict=True))
        return one, two, three

    async def main() -> None:
        assert add_ipv6() == (True, False, False)

    run(site.host, main)


def test_no_descriptor_is_no_other_network() -> None:
    system = FaultySystem(looks_into_routes=False)

    async def main() -> None:
        with system_in_use(system):
            before = current_network()
            system._faults = (Fault("find_route", None, errno.EMFILE),)
            assert current_network() == before

    trio.run(main)


# Sleep


class SleepySystem(System):
    """A system whose host sleeps when told to.

    Attributes:
        slept: for how many seconds it has.
    """

    def __init__(self) -> None:
        self.slept = 0.0

    def time_since_boot(self) -> float:
        return trio.current_time() + self.slept


@pytest.mark.parametrize("has_news", [True, False])
async def test_end_of_a_sleep_is_noticed(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, has_news: bool
) -> None:
    if not has_news:
        monkeypatch.setattr(System, "open_route_news", lambda _: None)
    system, woken = SleepySystem(), list[str]()
    loopback = Endpoint(IPv4Address("127.0.0.1"), 9)
    with system_in_use(system), trio.fail_after(100):
        async with trio.open_nursery() as nursery:

            async def wait_for_a_change() -> None:
                await wait_network_changed(current_network())
                woken.append("network")

            async def wait_for_the_end() -> None:
                await wait_stranded(IPv4Address("127.0.0.1"), loopback)
                woken.append("connection")

            nursery.start_soon(wait_for_a_change)
            nursery.start_soon(wait_for_the_end)
            await trio.sleep(20)
            system.slept += 3  # too short to matter
            await trio.sleep(20)
            assert not woken
            system.slept += 3600
            began_at = trio.current_time()
        assert trio.current_time() <= began_at + network_changes.CLOCKS_TIME
    assert sorted(woken) == ["connection", "network"]


async def test_clocks_are_not_looked_at_all_the_time(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, look = 0, Sleeps.look

    def count(sleeps: Sleeps, time_since_boot: float, now: float) -> bool:
        nonlocal looked
        looked += 1
        return look(sleeps, time_since_boot, now)

    monkeypatch.setattr(Sleeps, "look", count)
    with trio.move_on_after(300), system_in_use(SleepySystem()):
        await wait_network_changed(current_network())
    assert 90 <= looked <= 120
