"""What NATs do, told from what was seen: by made-up NATs, and behind all sorts in the lab."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import attrs
import pytest
from hypothesis import assume, example, given, strategies as st

from trio_p2p import Endpoint
from trio_p2p._nat.classification import (
    MAX_GAP,
    MAX_GAP_OF_TWO,
    Calls,
    Sample,
    allocation_of,
    classify,
    mapping_of,
    step_of,
)
from trio_p2p._nat.survey import survey_nat
from trio_p2p._wire.offer import Allocation, Behaviour, Nat

from ..kit.lab import (
    KINDS,
    Allocation as LabAllocation,
    Dependence,
    KernelNetwork,
    Nat as KernelNat,
    NatBehaviour,
    NatKind,
    SymmetricKind,
    UserspaceNetwork,
    capturing,
    run,
)
from ..kit.lab.round_trips import between_marks, mark, round_trips
from ..kit.probed_broker import ProbedBroker, probed_broker

pytestmark = pytest.mark.once

HOST, OUTSIDE = IPv4Address("192.168.1.2"), IPv4Address("203.0.113.1")
BROKER, OTHER = IPv4Address("198.51.100.10"), IPv4Address("198.51.100.11")
ONE_ADDRESS = [Endpoint(BROKER, 4433), Endpoint(BROKER, 4434)]
TWO_ADDRESSES = [*ONE_ADDRESS, Endpoint(OTHER, 4433)]
EIM, ADM, APDM = Behaviour
PRESERVING, SEQUENTIAL, RANDOM = Allocation


# Made-up NATs.


@attrs.define
class MadeUpNat:
    """Maps ports as RFC 4787 describes it."""

    mapping: Behaviour
    allocation: Allocation
    step: int = 1
    busy: int = 0  # ports that others take between two of ours, at most
    rng: random.Random = attrs.field(factory=lambda: random.Random(0))
    _next: int = 20_000
    _mappings: dict[object, int] = attrs.field(factory=dict)

    def translate(self, local: Endpoint, remote: Endpoint) -> Endpoint:
        parts = {EIM: (), ADM: (remote.address,), APDM: (remote,)}
        key = (local, *parts[self.mapping])
        if key not in self._mappings:
            self._mappings[key] = self._allocate(local)
        return Endpoint(OUTSIDE, self._mappings[key])

    def _allocate(self, local: Endpoint) -> int:
        match self.allocation:
            case Allocation.PRESERVING:
                return local.port
            case Allocation.SEQUENTIAL:
                self._next += self.step * (1 + self.rng.randint(0, self.busy))
                return self._next
            case _:
                return self.rng.randint(1024, 65535)


def survey(nat: MadeUpNat, remotes: Sequence[Endpoint]) -> list[Sample]:
    """The samples that a survey takes."""
    ways = [(51_001, remote) for remote in remotes] + [(51_777, remotes[0]), (52_003, remotes[0])]
    locals_ = [(Endpoint(HOST, port), remote) for port, remote in ways]
    return [
        Sample(local, remote, nat.translate(local, remote), order)
        for order, (local, remote) in enumerate(locals_)
    ]


seeds = st.integers(0, 2**32).map(random.Random)


@given(st.sampled_from(Behaviour), st.sampled_from([SEQUENTIAL, RANDOM]), seeds)
def test_mapping_seen_from_two_addresses(
    mapping: Behaviour, allocation: Allocation, rng: random.Random
) -> None:
    samples = survey(MadeUpNat(mapping, allocation, rng=rng), TWO_ADDRESSES)
    rng.shuffle(samples)  # they come back in any order
    assert classify(samples, Calls()).mapping is mapping


@given(st.sampled_from(Behaviour), st.sampled_from([SEQUENTIAL, RANDOM]), seeds)
def test_mapping_seen_from_one_address(
    mapping: Behaviour, allocation: Allocation, rng: random.Random
) -> None:
    samples = survey(MadeUpNat(mapping, allocation, rng=rng), ONE_ADDRESS)
    expected = EIM if mapping is ADM else mapping  # which cannot be told apart
    assert mapping_of(samples) is expected


def test_mapping_seen_from_two_addresses_without_a_second_port() -> None:
    remotes = [TWO_ADDRESSES[0], TWO_ADDRESSES[2]]
    assert mapping_of(survey(MadeUpNat(EIM, RANDOM), remotes)) is EIM
    for mapping in (ADM, APDM):
        assert mapping_of(survey(MadeUpNat(mapping, RANDOM), remotes)) is APDM


@given(st.sampled_from(Behaviour), st.sampled_from([ONE_ADDRESS, TWO_ADDRESSES]))
def test_ports_that_are_kept(mapping: Behaviour, remotes: list[Endpoint]) -> None:
    nat = classify(survey(MadeUpNat(mapping, PRESERVING), remotes), Calls())
    # That is endpoint-independent in effect.
    assert nat == Nat(EIM, None, PRESERVING)


@given(
    st.sampled_from(Behaviour),
    st.sampled_from([ONE_ADDRESS, TWO_ADDRESSES]),
    st.sampled_from([-4, -2, -1, 1, 2, 4, 10]),
)
def test_quiet_nat_that_counts(mapping: Behaviour, remotes: list[Endpoint], step: int) -> None:
    nat = MadeUpNat(mapping, SEQUENTIAL, step)
    assert allocation_of(survey(nat, remotes)) == (SEQUENTIAL, step)


@given(st.sampled_from(Behaviour), st.sampled_from([-2, -1, 1, 2]), st.integers(1, 20), seeds)
def test_busy_nat_that_counts(mapping: Behaviour, step: int, busy: int, rng: random.Random) -> None:
    samples = survey(MadeUpNat(mapping, SEQUENTIAL, step, busy, rng), TWO_ADDRESSES)
    allocation, found = allocation_of(samples)
    if len({sample.observed for sample in samples}) > 3:
        assert allocation is SEQUENTIAL
        assert found % step == 0  # some of the gaps may be all too large
        assert found * step > 0


@given(st.lists(st.integers(1024, 65535), min_size=3, max_size=6, unique=True))
def test_step_explains_all_gaps(ports: list[int]) -> None:
    def unexplained(ports: Sequence[int]) -> int:
        gaps = [b - a for a, b in itertools.pairwise(ports)]
        return sum(gap % step != 0 or abs(gap) > MAX_GAP for gap in gaps)

    step = step_of(ports)
    if step:
        without_one = itertools.combinations(ports, len(ports) - 1) if len(ports) > 3 else ()
        assert min(map(unexplained, (ports, *without_one))) <= 1
        assert abs(step_of(ports[::-1])) in (0, abs(step))


@given(st.integers(1024, 64_000), st.lists(st.integers(1, 6), min_size=2, max_size=6))
def test_step_is_the_largest_that_explains_them(start: int, gaps: list[int]) -> None:
    ports = list(itertools.accumulate(gaps, initial=start))
    step = step_of(ports)
    assert all(gap % step == 0 for gap in gaps)
    assert not any(all(gap % more == 0 for gap in gaps) for more in range(step + 1, 7))


@pytest.mark.parametrize(
    ("ports", "step"),
    [
        ([], 0),
        ([5000], 0),
        ([5000, 5000 + MAX_GAP_OF_TWO], MAX_GAP_OF_TWO),
        ([5000, 5001 + MAX_GAP_OF_TWO], 0),  # that may be chance
        ([5000, 5001, 5002], 1),
        ([5000, 5002, 5008], 2),
        ([5002, 5001, 5000], -1),
        ([5000, 5002, 5001], 1),  # the second SYN was lost, and left again
        ([5003, 5000, 5001, 5002], 1),  # and here the first one
        ([5011, 5000, 5010, 5009], 1),  # and here two
        ([5000, 60000, 5001, 5002], 1),  # the second mapping was there before
        ([5000, 60000, 5002], 0),
        ([5000, 5000, 5001], 0),
        ([5000, 5001, 5002 + MAX_GAP], 0),
        ([65534, 65535, 1024, 1025], 1),  # the counter starts over
        ([1025, 1024, 65535, 65534], -1),
        ([65534, 1024, 1025], 0),  # and here that cannot be told
        ([5000, 5001, 60000, 60001], 0),  # up again: it does not start over
    ],
)
def test_step(ports: list[int], step: int) -> None:
    assert step_of(ports) == step


@given(seeds)
@example(random.Random(1))
def test_random_ports_are_not_taken_for_a_counter(rng: random.Random) -> None:
    samples = survey(MadeUpNat(APDM, RANDOM, rng=rng), TWO_ADDRESSES)
    ports = [sample.observed.port for sample in samples]
    assume(step_of(ports) == 0)  # once in tens of millions
    assert allocation_of(samples) == (RANDOM, 0)


def test_port_that_was_taken_is_the_exception() -> None:
    samples = survey(MadeUpNat(EIM, PRESERVING), TWO_ADDRESSES)
    samples[-1] = attrs.evolve(samples[-1], observed=Endpoint(OUTSIDE, 1025))
    assert classify(samples, Calls()) == Nat(EIM, None, PRESERVING)


def test_nat_that_keeps_the_port_for_the_first_only() -> None:
    samples = survey(MadeUpNat(APDM, SEQUENTIAL), TWO_ADDRESSES)
    samples[0] = attrs.evolve(samples[0], observed=Endpoint(OUTSIDE, samples[0].local.port))
    assert classify(samples, Calls()) == Nat(APDM, None, SEQUENTIAL, 1)


@pytest.mark.parametrize(
    ("calls", "behind_nat", "without_nat"),
    [
        (Calls(None, None), None, None),
        (Calls(None, False), None, None),
        (Calls(True, True), EIM, EIM),
        (Calls(False, True), EIM, EIM),
        (Calls(True, False), ADM, ADM),
        (Calls(False, False), APDM, APDM),
        (Calls(False, None), APDM, APDM),
        (Calls(True, None), ADM, EIM),
    ],
)
def test_filtering(
    calls: Calls, behind_nat: Behaviour | None, without_nat: Behaviour | None
) -> None:
    behind = survey(MadeUpNat(EIM, RANDOM), ONE_ADDRESS)
    without = [attrs.evolve(sample, observed=sample.local) for sample in behind]
    assert classify(behind, calls).filtering is behind_nat
    assert classify(without, calls).filtering is without_nat


def test_nothing_was_seen() -> None:
    assert classify([], Calls()) == Nat()


def test_one_connection_without_a_nat_is_enough() -> None:
    local = Endpoint(HOST, 50_000)
    assert classify([Sample(local, TWO_ADDRESSES[0], local, 0)], Calls()) == Nat(
        EIM, None, PRESERVING
    )


def test_one_connection_behind_a_nat_is_not() -> None:
    sample = Sample(Endpoint(HOST, 50_000), TWO_ADDRESSES[0], Endpoint(OUTSIDE, 1025), 0)
    assert classify([sample], Calls()) == Nat()


endpoints = st.builds(
    Endpoint, st.sampled_from([HOST, OUTSIDE, BROKER, OTHER]), st.integers(1, 65535)
)


@given(
    st.lists(st.builds(Sample, endpoints, endpoints, endpoints, st.integers(0, 9)), max_size=8),
    st.builds(Calls, st.none() | st.booleans(), st.none() | st.booleans()),
)
def test_whatever_was_seen_something_is_said(samples: list[Sample], calls: Calls) -> None:
    nat = classify(samples, calls)
    assert (nat.allocation is SEQUENTIAL) == (nat.step != 0)


# Real ones.

EXPECTED = {
    "public": Nat(EIM, EIM, PRESERVING),
    "eim-eif": Nat(EIM, EIM, PRESERVING),
    "eim-adf": Nat(EIM, ADM, PRESERVING),
    "eim-apdf": Nat(EIM, APDM, PRESERVING),
    "eim-apdf-random-port": Nat(EIM, APDM, RANDOM),
    "eim-apdf-rst": Nat(EIM, APDM, PRESERVING),
    "eim-apdf-icmp": Nat(EIM, APDM, PRESERVING),
    # It keeps ports, so that in effect they do not depend on anything.
    "masquerade": Nat(EIM, APDM, PRESERVING),
    "masquerade-rst": Nat(EIM, APDM, PRESERVING),
    "sequential": Nat(APDM, APDM, SEQUENTIAL, 1),
    "sequential-rst": Nat(APDM, APDM, SEQUENTIAL, 1),
    "random": Nat(APDM, APDM, RANDOM),
    "random-rst": Nat(APDM, APDM, RANDOM),
}


def test_every_kind_is_expected_to_be_something() -> None:
    assert EXPECTED.keys() == KINDS.keys()


RANDOM_NAT = NatBehaviour(
    mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT, allocation=LabAllocation.RANDOM
)
SEQUENTIAL_NAT = replace(RANDOM_NAT, allocation=LabAllocation.SEQUENTIAL)


@pytest.fixture(scope="module")
def lab(_namespaces: None) -> Iterator[tuple[UserspaceNetwork, ProbedBroker]]:
    with UserspaceNetwork() as network, probed_broker(network) as broker:
        yield network, broker


@pytest.mark.parametrize("kind", KINDS)
def test_kind_of_nat(lab: tuple[UserspaceNetwork, ProbedBroker], kind: str) -> None:
    network, broker = lab
    site = network.add_site(KINDS[kind])
    assert run(site.host, survey_nat, broker.endpoint, broker.probes) == EXPECTED[kind]


@pytest.mark.parametrize("kind", ["eim-apdf", "sequential", "random", "eim-eif"])
def test_kind_of_nat_seen_from_one_address(userspace_network: UserspaceNetwork, kind: str) -> None:
    with probed_broker(userspace_network, has_two_addresses=False) as broker:
        site = userspace_network.add_site(KINDS[kind])
        nat = run(site.host, survey_nat, broker.endpoint, broker.probes)
    filtering = ADM if kind == "eim-eif" else APDM
    assert nat == attrs.evolve(EXPECTED[kind], filtering=filtering)


@pytest.mark.parametrize("step", [2, 7])
def test_step_of_a_nat(lab: tuple[UserspaceNetwork, ProbedBroker], step: int) -> None:
    network, broker = lab
    site = network.add_site(replace(SEQUENTIAL_NAT, step=step))
    nat = run(site.host, survey_nat, broker.endpoint, broker.probes)
    assert (nat.allocation, nat.step) == (SEQUENTIAL, step)


@pytest.mark.slow
def test_two_nats_look_like_the_worse_one(lab: tuple[UserspaceNetwork, ProbedBroker]) -> None:
    network, broker = lab
    for inner, outer in ((RANDOM_NAT, NatBehaviour()), (NatBehaviour(), RANDOM_NAT)):
        site = network.add_site(inner, outer)
        nat = run(site.host, survey_nat, broker.endpoint, broker.probes)
        assert nat == EXPECTED["random"]


def test_over_a_long_way(lab: tuple[UserspaceNetwork, ProbedBroker]) -> None:
    network, broker = lab
    site = network.add_site(KINDS["eim-apdf-rst"])
    network.set_round_trip(site, broker.host, 0.3)

    async def survey() -> Nat:
        mark()
        nat = await survey_nat(broker.endpoint, broker.probes)
        mark()
        return nat

    with capturing(site) as capture:
        assert run(site.host, survey) == EXPECTED["eim-apdf-rst"]
        [packets] = between_marks(capture.read())
    # To connect, to be told, and to be called back; some of it may be asked for at once.
    assert round_trips(packets) <= 3


@pytest.mark.parametrize("kind", [*NatKind, *SymmetricKind])
def test_nat_of_the_kernel(kernel_network: KernelNetwork, kind: NatKind | SymmetricKind) -> None:
    with probed_broker(kernel_network) as broker:
        site = kernel_network.add_site(KernelNat(kind))
        nat = run(site.host, survey_nat, broker.endpoint, broker.probes)
    assert (
        nat
        == {
            NatKind.PUBLIC: Nat(EIM, APDM, PRESERVING),
            NatKind.MASQUERADE: Nat(EIM, APDM, PRESERVING),
            NatKind.ADDRESS_DEPENDENT_FILTERING: Nat(EIM, ADM, PRESERVING),
            NatKind.ENDPOINT_INDEPENDENT_FILTERING: Nat(EIM, EIM, PRESERVING),
            SymmetricKind.RANDOM: Nat(APDM, APDM, RANDOM),
            SymmetricKind.SEQUENTIAL: Nat(APDM, APDM, SEQUENTIAL, 1),
        }[kind]
    )
