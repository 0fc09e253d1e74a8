"""How sources share the memory: none gets more than it leaves for others."""

from ipaddress import ip_address

from hypothesis import given, strategies as st

from trio_p2p._broker.budget import Budget, neighbourhood_of
from trio_p2p._broker.parties import network_of


def source_of(host: str) -> bytes:
    return network_of(ip_address(host))


def fill(budget: Budget, *hosts: str) -> list[int]:
    """How many bytes each gets if all take all they can, in turn."""
    sources = list(map(source_of, hosts))
    taken = dict.fromkeys(hosts, 0)
    is_over = False
    while not is_over:
        is_over = True
        for host, source in zip(hosts, sources, strict=True):
            if budget.has_room(source, 1):
                budget.take(source, 1)
                taken[host] += 1
                is_over = False
    return list(taken.values())


def test_each_source_that_takes_all_it_can_leaves_as_much() -> None:
    assert fill(Budget(1000), "192.0.2.1") == [500]
    assert fill(Budget(1000), "192.0.2.1", "198.51.100.1") == [333, 333]
    assert fill(Budget(1000), "192.0.2.1", "198.51.100.1", "2001:db8::1") == [250] * 3


def test_neighbours_share_what_one_source_gets() -> None:
    assert sum(fill(Budget(1000), *(f"192.0.2.{number}" for number in range(100)))) == 500
    assert sum(fill(Budget(1000), *(f"2001:db8:0:{number}::1" for number in range(100)))) == 500
    assert neighbourhood_of(source_of("2001:db8:0:9::1")) == ip_address("2001:db8::").packed[:6]


def test_what_counts_for_no_source_leaves_less() -> None:
    budget = Budget(1000)
    budget.set_shared("reserved", 400)
    assert fill(budget, "192.0.2.1") == [300]
    budget.set_shared("reserved", 1000)
    assert not budget.has_room(source_of("198.51.100.1"), 1)
    assert budget.held == 1300  # and nothing is taken away


SOURCES = [source_of(text) for text in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db9::1")]


@given(st.lists(st.tuples(st.sampled_from(SOURCES), st.integers(0, 300)), max_size=50))
def test_total_is_never_exceeded_and_nothing_is_left(steps: list[tuple[bytes, int]]) -> None:
    budget, taken = Budget(1000), []
    for source, count in steps:
        if budget.has_room(source, count):
            budget.take(source, count)
            taken.append((source, count))
        assert budget.held == sum(count for _, count in taken) <= 1000
    for source, count in taken:
        budget.give_back(source, count)
    assert (budget.held, budget.sources) == (0, 0)
