"""The NATs of the lab do what their behaviour says: packets in, packets out."""

import json
from dataclasses import asdict, replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, strategies as st

from trio_p2p.testing._internet.nat import PORT_COUNT
from trio_p2p.testing._internet.packets import (
    ACK,
    ADMIN_PROHIBITED,
    FIN,
    PORT_UNREACHABLE,
    RST,
    SYN,
    UDP,
    Endpoint,
    Packet,
)
from trio_p2p.testing._internet.sessions import Side

from ..kit.lab import KINDS, Allocation, Dependence, NatBehaviour, Refusal
from ..kit.lab.internet.router import behaviour_of
from .nat_bench import (
    HOST,
    INSIDE,
    MASQUERADE,
    OPEN,
    OTHER_HOST,
    OUTSIDE,
    REMOTE,
    SAME_ADDRESS,
    STRANGER,
    Bench,
    assert_quotes,
    endpoint,
    segment,
)

ON_ADDRESS_AND_PORT = Dependence.ADDRESS_AND_PORT_DEPENDENT
PORTS = range(80, 180)

# Few enough that they meet.
few_hosts = st.sampled_from([HOST, OTHER_HOST, endpoint("10.0.1.2", 5001)])
few_remotes = st.sampled_from(
    [endpoint(f"198.51.100.{a}", port) for a in (101, 102, 103) for port in (80, 81, 82)]
)
behaviours = st.builds(
    NatBehaviour,
    mapping=st.sampled_from(Dependence),
    filtering=st.sampled_from(Dependence),
    allocation=st.sampled_from(Allocation),
    tracks_isn=st.booleans(),
)


# Mapping and allocation


@given(behaviours, few_remotes, few_remotes)
def test_mapping_depends_on_what_it_says(
    behaviour: NatBehaviour, one: Endpoint, other: Endpoint
) -> None:
    # Ports of the other allocations may be the same by chance, or on purpose.
    bench = Bench(replace(behaviour, allocation=Allocation.SEQUENTIAL))
    is_same = bench.open(HOST, one) == bench.open(HOST, other)
    parts = behaviour.mapping
    assert is_same is (one[:parts] == other[:parts])


@given(behaviours, st.lists(st.tuples(few_hosts, few_remotes), max_size=20))
def test_what_comes_back_finds_its_host(
    behaviour: NatBehaviour, opened: list[tuple[Endpoint, Endpoint]]
) -> None:
    bench = Bench(behaviour)
    mapped = {(host, remote): bench.open(host, remote) for host, remote in opened}
    for (host, remote), outside in mapped.items():
        got = bench.receive(segment(remote, outside, SYN | ACK))
        assert got is not None
        assert (got.source, got.destination) == (remote, host)
    assert len({(outside, remote) for (_, remote), outside in mapped.items()}) == len(mapped)


@given(
    behaviours,
    st.lists(
        st.tuples(few_hosts, few_remotes, st.sampled_from([SYN, SYN | ACK, ACK, FIN | ACK, RST]))
        | st.tuples(st.sampled_from(range(3)), few_remotes, st.sampled_from([SYN, ACK, RST]))
        | st.tuples(st.none(), st.none(), st.integers(1, 300)),
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
def test_no_sequence_of_segments_confuses_a_nat(
    behaviour: NatBehaviour,
    steps: list[tuple[Endpoint | int | None, Endpoint | None, int]],
    random: Random,
) -> None:
    bench = Bench(replace(behaviour, lifetime=300.0, transitory_lifetime=100.0))
    seen: list[Endpoint] = [Endpoint(OUTSIDE, 5000)]
    for who, remote, what in steps:
        if remote is None:
            bench.now += what
        elif isinstance(who, Endpoint):
            sent = bench.send(segment(who, remote, what, sequence=random.randrange(3)))
            if sent is not None:
                seen.append(sent.source)
                assert sent.source.address == OUTSIDE
        else:
            bench.receive(segment(remote, random.choice(seen), what, sequence=random.randrange(3)))


def test_preserving_nat_takes_another_port_only_if_it_must() -> None:
    bench = Bench(NatBehaviour())
    assert bench.open(HOST).port == HOST.port
    taken = bench.open(OTHER_HOST, STRANGER).port
    assert taken != OTHER_HOST.port
    assert bench.open(OTHER_HOST, SAME_ADDRESS).port == taken


def test_masquerade_keeps_port_while_it_can_tell_connections_apart() -> None:
    bench = Bench(MASQUERADE)
    for host, remote in [(HOST, REMOTE), (HOST, SAME_ADDRESS), (OTHER_HOST, STRANGER)]:
        assert bench.open(host, remote).port == host.port
    assert bench.open(OTHER_HOST, REMOTE).port != OTHER_HOST.port


@pytest.mark.parametrize("step", [1, 2, -3])
def test_sequential_ports_follow_each_other(step: int) -> None:
    bench = Bench(replace(MASQUERADE, allocation=Allocation.SEQUENTIAL, step=step))
    ports = [bench.open(HOST, endpoint("198.51.100.101", port)).port for port in PORTS]
    gaps = {(later - earlier) % PORT_COUNT for earlier, later in pairwise(ports)}
    assert gaps == {step % PORT_COUNT}


def test_random_ports_are_all_over_the_place() -> None:
    bench = Bench(replace(MASQUERADE, allocation=Allocation.RANDOM))
    ports = [bench.open(HOST, endpoint("198.51.100.101", port)).port for port in PORTS]
    assert len(set(ports)) > 90
    assert max(ports) - min(ports) > PORT_COUNT / 2


# Filtering and refusal


@given(behaviours, few_remotes, few_remotes)
def test_filter_depends_on_what_it_says(
    behaviour: NatBehaviour, contact: Endpoint, other: Endpoint
) -> None:
    bench = Bench(behaviour)
    mapped = bench.open(HOST, contact)
    parts = behaviour.filtering
    assert bench.lets_in(other, mapped) is (contact[:parts] == other[:parts])


def test_answer_to_somebody_let_in_comes_from_the_port_he_sent_to() -> None:
    bench = Bench(replace(OPEN, mapping=ON_ADDRESS_AND_PORT, allocation=Allocation.RANDOM))
    mapped = bench.open()
    assert bench.lets_in(STRANGER, mapped)
    answer = bench.send(segment(HOST, STRANGER, SYN | ACK))
    assert answer is not None
    assert answer.source == mapped


def test_one_host_is_not_led_to_another_twice() -> None:
    bench = Bench(replace(OPEN, mapping=ON_ADDRESS_AND_PORT, allocation=Allocation.RANDOM))
    one, other = bench.open(HOST, REMOTE), bench.open(HOST, SAME_ADDRESS)
    assert bench.lets_in(STRANGER, one)
    assert not bench.lets_in(STRANGER, other)


@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK, RST])
def test_only_a_syn_opens_from_outside(flags: int) -> None:
    bench = Bench(OPEN)
    assert not bench.lets_in(STRANGER, bench.open(), flags)


@pytest.mark.parametrize("is_mapped", [False, True])
def test_refusal(is_mapped: bool) -> None:
    def refused(refusal: Refusal, flags: int) -> Packet | None:
        bench = Bench(NatBehaviour(refusal=refusal))
        if is_mapped:
            bench.open()
        target = Endpoint(OUTSIDE, HOST.port)
        return bench.answer(Side.OUTSIDE, segment(STRANGER, target, flags))

    assert refused(Refusal.DROP, SYN) is None
    reset = refused(Refusal.RST, SYN)
    assert reset is not None
    assert reset.flags == RST | ACK
    assert (reset.source, reset.destination) == (Endpoint(OUTSIDE, HOST.port), STRANGER)
    report = refused(Refusal.ICMP, SYN)
    assert report is not None
    assert report.error == ADMIN_PROHIBITED
    assert report.source.address == OUTSIDE
    assert_quotes(report, STRANGER, Endpoint(OUTSIDE, HOST.port))
    assert refused(Refusal.RST, RST) is None
    assert refused(Refusal.ICMP, RST) is None


def test_router_itself_has_closed_ports() -> None:
    bench = Bench(NatBehaviour())
    answer = bench.answer(Side.INSIDE, segment(HOST, Endpoint(INSIDE, 1)))
    assert answer is not None
    assert answer.flags & RST
    datagram = Packet.build(UDP, HOST.address, INSIDE, bytearray(b"\x13\x88\x14\xe7\0\x08\0\0"))
    answer = bench.answer(Side.INSIDE, datagram)
    assert answer is not None
    assert answer.error == PORT_UNREACHABLE


# The kinds


def test_kinds_are_what_their_names_say() -> None:
    assert KINDS["public"] is None
    for name, nat in KINDS.items():
        if nat is None:
            continue
        is_independent = name.startswith("eim")
        assert (nat.mapping is Dependence.ENDPOINT_INDEPENDENT) is is_independent
        assert nat.tracks_isn is not is_independent
        assert ("rst" in name) is (nat.refusal is Refusal.RST)
        assert ("icmp" in name) is (nat.refusal is Refusal.ICMP)
        assert ("random" in name) is (nat.allocation is Allocation.RANDOM)
        assert ("sequential" in name) is (nat.allocation is Allocation.SEQUENTIAL)
        assert not nat.hairpins
        assert nat == behaviour_of(json.loads(json.dumps(asdict(nat))))
