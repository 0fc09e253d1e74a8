"""Userspace NATs before the TCP of Linux: each kind does what its name says."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack

import attrs
import pytest

from trio_p2p._lab.networks import INTERNET

from ..kit.lab import (
    KINDS,
    Allocation,
    Dependence,
    Host,
    NatBehaviour,
    Refusal,
    UserspaceHost,
    UserspaceNetwork,
)
from ..kit.lab.sockets import (
    endpoint_of,
    ends_with,
    exchange,
    make_listener,
    make_socket,
    offender,
    start_connecting,
    wait_connected,
)
from .punched_hosts import PunchedHost, connected

pytestmark = pytest.mark.once

OUTCOMES = {
    Refusal.DROP: errno.ETIMEDOUT,
    Refusal.RST: errno.ECONNREFUSED,
    Refusal.ICMP: errno.EHOSTUNREACH,
}
NATS = {name: nat for name, nat in KINDS.items() if nat is not None}
PRESERVING = [
    name for name, nat in KINDS.items() if not nat or nat.allocation is Allocation.PRESERVING
]
OPEN = NatBehaviour(filtering=Dependence.ENDPOINT_INDEPENDENT)


@attrs.frozen
class Lab:
    """Hosts with public addresses, and a site of each kind."""

    network: UserspaceNetwork
    host: Host
    stranger: Host
    silent: PunchedHost
    refusing: PunchedHost
    sites: dict[str, UserspaceHost]


@pytest.fixture(scope="module")
def lab(_namespaces: None) -> Iterator[Lab]:
    with UserspaceNetwork() as network:
        yield Lab(
            network,
            network.add_host(),
            network.add_host(),
            PunchedHost(network.add_host(), "drop"),
            PunchedHost(network.add_host(), "reject with tcp reset"),
            {name: network.add_site(nat) for name, nat in KINDS.items()},
        )


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def nat(kind: str) -> NatBehaviour:
    # Who has no NAT is like one who has an open one, as long as his ports are open.
    return KINDS[kind] or OPEN


# Each kind


def test_mapping_and_allocation(lab: Lab, kind: str, nat: NatBehaviour) -> None:
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(make_listener(host)) for host in (lab.host, lab.host, lab.stranger)
        ]
        own = stack.enter_context(make_socket(lab.sites[kind])).getsockname()[1]
        mapped = [
            stack.enter_context(connected(lab.sites[kind], listener, own)) for listener in listeners
        ]
    assert {address for address, _ in mapped} == {str(lab.sites[kind].public_address)}
    ports = [port for _, port in mapped]
    if nat.allocation is Allocation.PRESERVING:
        assert ports == [own] * 3
    elif nat.allocation is Allocation.SEQUENTIAL:
        assert ports == list(range(ports[0], ports[0] + 3))
    else:
        assert own not in ports
        assert len(set(ports)) == (1 if nat.mapping is Dependence.ENDPOINT_INDEPENDENT else 3)


def test_filtering_and_refusal(lab: Lab, kind: str, nat: NatBehaviour) -> None:
    site = lab.sites[kind]
    with (
        make_listener(lab.host) as contact,
        make_listener(site) as listener,
        connected(site, contact, listener.getsockname()[1]) as mapped,
        make_socket(lab.host) as contacts_other_port,
        make_socket(lab.stranger) as stranger,
        make_socket(lab.stranger) as astray,
    ):
        diallers = {
            contacts_other_port: (mapped, nat.filtering <= Dependence.ADDRESS_DEPENDENT),
            stranger: (mapped, nat.filtering <= Dependence.ENDPOINT_INDEPENDENT),
            astray: ((mapped[0], mapped[1] ^ 1), False),
        }
        for dialler, (target, _) in diallers.items():
            start_connecting(dialler, target)
        # Without a NAT the host itself answers.
        refused = OUTCOMES[nat.refusal] if KINDS[kind] else errno.ECONNREFUSED
        for dialler, (_, is_let_in) in diallers.items():
            assert ends_with(dialler, 0 if is_let_in else refused)


def test_connect_close_listen_fails_where_isns_are_tracked(
    lab: Lab, kind: str, nat: NatBehaviour
) -> None:
    with make_socket(lab.silent.host) as dialler:
        with lab.silent.punched(lab.sites[kind], dialler) as (puncher, mapped):
            port = puncher.getsockname()[1]
        with make_listener(lab.sites[kind], port):
            start_connecting(dialler, mapped)
            assert ends_with(dialler, errno.ETIMEDOUT if nat.tracks_isn else 0)


def test_held_syn_connects(lab: Lab, kind: str) -> None:
    with (
        make_socket(lab.silent.host) as dialler,
        lab.silent.punched(lab.sites[kind], dialler) as (puncher, mapped),
    ):
        start_connecting(dialler, mapped)
        assert wait_connected(dialler) == 0
        assert wait_connected(puncher) == 0
        exchange(puncher, dialler)


@pytest.mark.parametrize("kind", NATS)
def test_rst_from_outside_closes_the_hole(lab: Lab, kind: str, nat: NatBehaviour) -> None:
    with (
        make_socket(lab.refusing.host) as dialler,
        lab.refusing.punched(lab.sites[kind], dialler) as (puncher, mapped),
        make_listener(lab.sites[kind], puncher.getsockname()[1]),
    ):
        assert wait_connected(puncher) == errno.ECONNREFUSED
        start_connecting(dialler, mapped)
        assert ends_with(dialler, OUTCOMES[nat.refusal])


@pytest.mark.parametrize("kind", PRESERVING)
def test_guarded_syn_connects_with_every_kind_as_time_exceeded_closes_nothing(
    lab: Lab, kind: str
) -> None:
    receiver = lab.network.add_site(KINDS[kind])
    for name in PRESERVING:
        sender = lab.sites[name]
        with make_socket(receiver) as puncher, make_socket(sender) as dialler:
            # It dies in the internet, where one that has no NAT has fewer hops to go.
            ttl = 2 if KINDS[kind] else 1
            start_connecting(puncher, endpoint_of(sender, dialler), ttl=ttl, min_ttl=2)
            assert ends_with(puncher, errno.ETIMEDOUT)
            start_connecting(dialler, endpoint_of(receiver, puncher))
            assert wait_connected(dialler) == wait_connected(puncher) == 0
            exchange(puncher, dialler)


def test_forgotten_mapping_lets_nobody_in(lab: Lab, kind: str, nat: NatBehaviour) -> None:
    site = lab.sites[kind]
    with (
        make_socket(lab.silent.host) as dialler,
        lab.silent.punched(site, dialler) as (_, mapped),
    ):
        lab.network.forget(site)
        start_connecting(dialler, mapped)
        assert ends_with(dialler, OUTCOMES[nat.refusal] if KINDS[kind] else 0)


def test_hops_are_the_nat_and_the_internet(lab: Lab, kind: str) -> None:
    site = lab.sites[kind]
    hops = [*(gateway.inside_address for gateway in site.gateways), INTERNET, None]
    with make_listener(lab.host) as listener:
        target = listener.getsockname()
        assert [offender(site, target, ttl) for ttl in range(1, len(hops) + 1)] == hops
