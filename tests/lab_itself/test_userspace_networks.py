"""Networks with userspace NATs: stacked ones, shared ones, and ways that are long and lossy."""

import errno
import os
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network

import attrs
import pytest
import trio

from trio_p2p._lab.networks import INTERNET

from ..kit.lab import (
    KINDS,
    Dependence,
    Host,
    Nat,
    NatBehaviour,
    Refusal,
    UserspaceNetwork,
    run,
    running,
)
from ..kit.lab.sockets import (
    ANSWER_SECONDS,
    SILENCE_SECONDS,
    Endpoint,
    dial,
    dial_ends_with,
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

DELAYED_ACK_SECONDS = 0.040
DISCARD_PORT = 9  # RFC 863; what happens to datagrams there does not matter
BATCH = 50  # datagrams under way: fewer than any queue has room for
NATS = {name: nat for name, nat in KINDS.items() if nat is not None}
OPEN = NatBehaviour(filtering=Dependence.ENDPOINT_INDEPENDENT)


@attrs.frozen
class Lab:
    """A network with two hosts that have public addresses."""

    network: UserspaceNetwork
    host: Host
    stranger: Host


@pytest.fixture(scope="module")
def lab(_namespaces: None) -> Iterator[Lab]:
    with UserspaceNetwork() as network:
        yield Lab(network, network.add_host(), network.add_host())


# More than one NAT, or host


def test_nats_can_be_stacked(lab: Lab) -> None:
    site = lab.network.add_site(KINDS["eim-apdf"] or OPEN, NATS["random"], NATS["sequential"])
    hops = [gateway.inside_address for gateway in site.gateways]
    assert [str(hop)[:7] for hop in hops[1:]] == ["100.64.", "100.64."]
    with make_listener(lab.host) as listener:
        target = listener.getsockname()
        found = [offender(site, target, ttl) for ttl in range(1, 6)]
        assert found == [*hops, INTERNET, None]
        with connected(site, listener) as mapped:
            assert mapped[0] == str(site.public_address)


def test_time_to_live_ends_at_the_far_nat_and_behind_it(lab: Lab) -> None:
    site = lab.network.add_site(OPEN, OPEN)
    with (
        make_listener(lab.host) as contact,
        make_listener(site) as listener,
        connected(site, contact, listener.getsockname()[1]) as mapped,
    ):
        found = [offender(lab.stranger, mapped, ttl) for ttl in range(1, 5)]
    # What happens behind the far NAT is told in its name.
    assert found == [INTERNET, site.public_address, site.public_address, None]


def test_neighbours_reach_each_other_directly(lab: Lab) -> None:
    home = lab.network.add_nat(NATS["eim-apdf"])
    one, other = (lab.network.add_host(behind=home) for _ in range(2))
    assert one.public_address == other.public_address
    with make_listener(other) as listener:
        assert offender(one, listener.getsockname(), ttl=1) is None
        assert dial_ends_with(one, (str(home.network[77]), 1), errno.ETIMEDOUT)
        assert dial(one, (str(home.inside_address), 1)) == errno.ECONNREFUSED


def test_networks_behind_two_nats_may_have_the_same_addresses(lab: Lab) -> None:
    network = IPv4Network("192.168.1.0/24")
    homes = [lab.network.add_nat(NATS["eim-eif"], network=network) for _ in range(2)]
    one, other = (lab.network.add_host(behind=home) for home in homes)
    assert one.host_address == other.host_address
    with make_listener(lab.host) as listener:
        for site, home in zip([one, other], homes, strict=True):
            with connected(site, listener) as mapped:
                assert mapped[0] == str(home.address)


@pytest.mark.parametrize("hairpins", [False, True])
@pytest.mark.parametrize("behind_carrier", [False, True])
def test_hairpin(lab: Lab, *, hairpins: bool, behind_carrier: bool) -> None:
    """Two hosts of a home, or two homes of a carrier, at their public address."""
    shared = replace(OPEN, hairpins=hairpins, refusal=Refusal.ICMP)
    if behind_carrier:
        carrier = lab.network.add_carrier(shared)
        one, other = (lab.network.add_site(OPEN, behind=carrier) for _ in range(2))
    else:
        home = lab.network.add_nat(shared)
        one, other = (lab.network.add_host(behind=home) for _ in range(2))
    lab.network.set_round_trip(one, other, 0.030)
    with (
        make_listener(lab.host) as contact,
        make_listener(other) as listener,
        connected(other, contact, listener.getsockname()[1]) as mapped,
    ):
        assert dial(one, mapped) == (0 if hairpins else errno.EHOSTUNREACH)
        # A refusal comes from the shared NAT, before any way.
        assert set(lab.network.take_fates(one, other)) == ({0.015} if hairpins else set())


def test_two_homes_of_a_carrier_meet_between_their_nats(lab: Lab) -> None:
    carrier = lab.network.add_carrier(NATS["masquerade"])
    one, other = (lab.network.add_site(OPEN, behind=carrier) for _ in range(2))
    assert one.public_address == other.public_address == carrier.address
    with (
        make_listener(lab.host) as contact,
        make_listener(other) as listener,
        connected(other, contact, listener.getsockname()[1]),
    ):
        between = str(other.gateways[0].address), listener.getsockname()[1]
        assert dial(one, between) == 0


def test_userspace_and_kernel_nats_meet(lab: Lab) -> None:
    kernel_site, site = lab.network.add_site(Nat()), lab.network.add_site(NATS["masquerade-rst"])
    with make_socket(kernel_site) as puncher, make_socket(site) as dialler:
        start_connecting(puncher, endpoint_of(site, dialler), ttl=2, min_ttl=2)
        start_connecting(dialler, endpoint_of(kernel_site, puncher))
        assert wait_connected(puncher) == wait_connected(dialler) == 0
        exchange(puncher, dialler)


def test_stacked_nats_carry_much(lab: Lab) -> None:
    site = lab.network.add_site(NATS["eim-apdf"], NATS["random"])
    sent = os.urandom(3_000_000)

    async def serve(task_status: trio.TaskStatus[Endpoint]) -> None:
        [listener] = await trio.open_tcp_listeners(0, host=str(lab.host.host_address))
        task_status.started(listener.socket.getsockname())
        async with listener, await listener.accept() as stream:
            await stream.send_all(sent)

    async def receive(endpoint: Endpoint) -> bytes:
        async with await trio.open_tcp_stream(*endpoint) as stream:
            return b"".join([piece async for piece in stream])

    with running(lab.host.host, serve) as endpoint:
        assert run(site.host, receive, endpoint) == sent


# What else ends connections


@pytest.mark.parametrize("closes_on_icmp", [False, True])
def test_icmp_error_closes_the_hole_only_if_it_may(lab: Lab, *, closes_on_icmp: bool) -> None:
    site = lab.network.add_site(replace(NATS["eim-apdf"], closes_on_icmp=closes_on_icmp))
    prohibiting = PunchedHost(lab.network.add_host(), "reject with icmp type admin-prohibited")
    with (
        make_socket(prohibiting.host) as dialler,
        prohibiting.punched(site, dialler) as (puncher, mapped),
        make_listener(site, puncher.getsockname()[1]),
    ):
        assert wait_connected(puncher) == errno.EHOSTUNREACH
        start_connecting(dialler, mapped)
        assert ends_with(dialler, errno.ETIMEDOUT if closes_on_icmp else 0)


@pytest.mark.parametrize("picks_up", [False, True])
def test_forgotten_connection(lab: Lab, *, picks_up: bool) -> None:
    site = lab.network.add_site(replace(NATS["masquerade"], picks_up=picks_up))
    with make_listener(lab.host) as listener, make_socket(site) as dialler:
        start_connecting(dialler, listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            exchange(dialler, accepted)
            time.sleep(2 * DELAYED_ACK_SECONDS)  # which the NAT would pick up
            lab.network.forget(site.gateways[0])
            accepted.send(b"not let in")
            readable, _, _ = select.select([dialler], [], [], SILENCE_SECONDS)
            assert not readable
            dialler.send(b"hello")
            patience = ANSWER_SECONDS if picks_up else SILENCE_SECONDS
            readable, _, _ = select.select([accepted], [], [], patience)
            assert bool(readable) is picks_up


# Ways


def send_datagrams(
    network: UserspaceNetwork, one: Host, other: Host, count: int
) -> list[float | None]:
    """Send datagrams, and ask the internet what has become of each."""
    fates: list[float | None] = []
    with one.host.call(partial(socket.socket, type=socket.SOCK_DGRAM)) as sender:
        while len(fates) < count:
            batch = min(BATCH, count - len(fates))
            for _ in range(batch):
                sender.sendto(b"", (str(other.host_address), DISCARD_PORT))
            known = len(fates)
            while len(fates) < known + batch:
                fates += network.take_fates(one, other)
    return fates


@pytest.mark.usefixtures("_namespaces")
def test_losses_are_as_many_as_said_and_the_same_with_the_same_seed() -> None:
    def lost(seed: str) -> set[int]:
        with UserspaceNetwork(seed=seed) as network:
            one, other = network.add_host(), network.add_host()
            network.set_loss(one, other, 0.3)
            fates = send_datagrams(network, one, other, 500)
            return {number for number, seconds in enumerate(fates) if seconds is None}

    some, same, different = lost("one"), lost("one"), lost("other")
    assert 100 < len(some) < 200
    assert some == same != different


def test_loss_between_two_hosts_is_theirs_alone(lab: Lab) -> None:
    site = lab.network.add_site(NATS["masquerade"])
    with make_listener(lab.host) as listener, make_listener(lab.stranger) as other:
        lab.network.set_loss(site, lab.host, 1.0)
        assert dial_ends_with(site, listener.getsockname(), errno.ETIMEDOUT)
        assert dial(site, other.getsockname()) == 0
        lab.network.set_loss(site, lab.host, 0.0)
        assert dial(site, listener.getsockname()) == 0


def test_loss_at_a_site_is_towards_all_others_and_both_ways(lab: Lab) -> None:
    home = lab.network.add_nat(replace(OPEN, refusal=Refusal.RST))
    site, neighbour = (lab.network.add_host(behind=home) for _ in range(2))
    with (
        make_listener(lab.host) as listener,
        make_listener(neighbour) as near,
        make_listener(site) as own,
    ):
        lab.network.set_loss(site, None, 1.0)
        port = own.getsockname()[1]
        for target in (listener, near):
            assert dial_ends_with(site, target.getsockname(), errno.ETIMEDOUT, port=port)
        assert dial(neighbour, listener.getsockname()) == 0
        lab.network.set_loss(site, None, 0.0)
        # Not even the NAT has seen a SYN.
        assert dial(lab.stranger, endpoint_of(site, own)) == errno.ECONNREFUSED


def test_jitter_comes_on_top_of_the_round_trip(lab: Lab) -> None:
    one, other = lab.network.add_host(), lab.network.add_host()
    lab.network.set_round_trip(one, other, 0.020)
    lab.network.set_jitter(one, other, 0.020)
    took = [each for each in send_datagrams(lab.network, one, other, 20) if each is not None]
    assert len(took) == 20
    assert min(took) >= 0.010
    assert max(took) < 0.031
    assert max(took) - min(took) > 0.005


def test_no_way_leads_from_a_host_to_itself(lab: Lab) -> None:
    with pytest.raises(ValueError, match="to itself"):
        lab.network.set_round_trip(lab.host, lab.host, 0.1)
