"""Quotas: what counts for whom, what is given back, and how a rate is kept."""

import math
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, strategies as st

from trio_p2p import LocalProtocolError
from trio_p2p._broker.quota import (
    BURST_TIME,
    CircuitGrant,
    OverQuotaError,
    Pace,
    RelayLimits,
    RelayQuota,
)
from trio_p2p._identity.peer_id import PeerId

ALICE, BOB = (PeerId(bytes([number]) * 23) for number in (1, 2))


def quota(**limits: Any) -> RelayQuota:
    return RelayQuota(RelayLimits(**limits))


def reserve(of: RelayQuota, host: str = "192.0.2.1", receiver: PeerId = ALICE) -> CircuitGrant:
    return of.reserve(bytes(16), ip_address(host), receiver)


# The limits.


@pytest.mark.parametrize(
    "limits",
    [
        {"bytes_per_second": 0},
        {"bytes_per_second": 1.5},
        {"bytes_per_second": True},
        {"max_bytes": -1},
        {"max_bytes": 2**63},
        {"circuits_per_ip": 0},
        {"circuits_per_identity": None},
        {"idle_time": 0},
        {"idle_time": 9.9},
        {"idle_time": math.inf},
        {"idle_time": math.nan},
        {"idle_time": "60"},
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    [name] = limits
    with pytest.raises(LocalProtocolError, match=f"^{name} of RelayLimits must be"):
        RelayLimits(**limits)


@pytest.mark.parametrize(
    ("idle_time", "told"), [(10, 10_000), (60.0, 60_000), (12.3456, 12_345), (1e9, 86_400_000)]
)
def test_idle_time_is_told_in_milliseconds(idle_time: float, told: int) -> None:
    assert RelayLimits(idle_time=idle_time).told == (None, None, told)


def test_default_limits() -> None:
    assert RelayLimits() == RelayLimits(None, None, 32, 128, 60.0)


# Circuits.


def test_receiver_has_so_many_circuits_and_no_more() -> None:
    few = quota(circuits_per_identity=2)
    grants = [reserve(few, host) for host in ("192.0.2.1", "192.0.2.2")]
    with pytest.raises(OverQuotaError, match="at most 2 circuits at a time for one receiver"):
        reserve(few, "192.0.2.3")
    reserve(few, "192.0.2.3", BOB)
    few.release(grants[0])
    reserve(few, "192.0.2.3")
    assert few.circuits == 3


def test_sender_s_address_has_so_many_circuits() -> None:
    few = quota(circuits_per_ip=2)
    first = reserve(few, "192.0.2.1")
    reserve(few, "192.0.2.1", BOB)
    with pytest.raises(OverQuotaError, match=r"at most 2 .* senders of one IP address"):
        reserve(few, "192.0.2.1")
    reserve(few, "192.0.2.3")
    few.release(first)
    reserve(few, "192.0.2.1")


def test_one_address_cannot_hold_all_circuits_of_a_receiver() -> None:
    limits = RelayLimits()
    default = RelayQuota(limits)
    for _ in range(limits.circuits_per_identity // 4):
        reserve(default, "192.0.2.1")
    with pytest.raises(OverQuotaError, match="senders of one IP address"):
        reserve(default, "192.0.2.1")
    reserve(default, "192.0.2.2")


def test_ipv6_addresses_of_one_network_count_together() -> None:
    few = quota(circuits_per_ip=1)
    reserve(few, "2001:db8:0:1::1")
    reserve(few, "2001:db8:0:2::1")
    with pytest.raises(OverQuotaError):
        reserve(few, "2001:db8:0:1:ffff::2")


def test_refused_circuit_counts_for_nobody() -> None:
    few = quota(circuits_per_ip=1)
    first = reserve(few, "192.0.2.1", ALICE)
    with pytest.raises(OverQuotaError):
        reserve(few, "192.0.2.1", BOB)
    few.release(first)
    assert few.circuits == 0
    assert not few._of_source
    assert not few._of_identity


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans())))
def test_nothing_is_left_of_circuits_that_have_ended(steps: list[tuple[int, int, bool]]) -> None:
    few = quota(circuits_per_ip=3, circuits_per_identity=3)
    grants: list[CircuitGrant] = []
    for sender, receiver, ends in steps:
        try:
            grants.append(reserve(few, f"192.0.2.{sender}", (ALICE, BOB, ALICE)[receiver]))
        except OverQuotaError:
            continue
        if ends:
            few.release(grants.pop(0))
        assert few.circuits == len(grants)
        assert max(few._of_source.values(), default=0) <= 3
        assert max(few._of_identity.values(), default=0) <= 3
    for grant in grants:
        few.release(grant)
    assert not few._of_source
    assert not few._of_identity


# The rate.


@given(
    st.integers(1, 10**9),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1)), min_size=1, max_size=50),
)
def test_rate_is_kept_whatever_is_said_when(rate: int, said: list[tuple[float, float]]) -> None:
    pace = Pace(rate)
    now, total = 100.0, 0
    for silence, share in said:
        now += silence
        count = max(1, int(pace.piece * share))
        total += count
        now += pace.spend(count, now)
        most = (now - 100 + BURST_TIME) * rate
        assert total <= most * 1.000001 + 1


def test_who_does_not_pause_for_long_has_all_of_the_rate() -> None:
    pace = Pace(1000)
    now = 0.0
    for _ in range(100):
        now += pace.spend(pace.piece, now)
    assert now == pytest.approx((100 * pace.piece) / 1000 - BURST_TIME)


def test_slowest_rate_carries_a_byte_at_a_time() -> None:
    pace = Pace(1)
    assert pace.piece == 1
    assert pace.spend(1, 0.0) == pytest.approx(1 - BURST_TIME)
