"""Quotas: what counts for whom, what is given back, and how a rate is kept."""

import math
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, strategies as st

from trio_p2p import LocalProtocolError
from trio_p2p._broker.parties import Party, network_of
from trio_p2p._broker.quota import (
    BYTES_TIME,
    CircuitGrant,
    OverQuotaError,
    RelayLimits,
    RelayQuota,
)
from trio_p2p._identity.peer_id import PeerId

NOW = 1000.0
ALICE, BOB = (PeerId(bytes([number]) * 23) for number in (1, 2))


def quota(**limits: Any) -> RelayQuota:
    return RelayQuota(RelayLimits(**limits))


def reserve(
    of: RelayQuota,
    host: str = "192.0.2.1",
    receiver: PeerId = ALICE,
    *,
    key: bytes | None = None,
    now: float = NOW,
) -> CircuitGrant:
    sender = Party(network_of(ip_address(host)), key)
    return of.reserve(bytes(16), sender, receiver, now)


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
    assert not few._of_sender
    assert not few._of_receiver


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
        assert max(few._of_sender._of_network.values(), default=0) <= 3
        assert max(few._of_receiver.values(), default=0) <= 3
    for grant in grants:
        few.release(grant)
    assert not few._of_sender
    assert not few._of_receiver


# Identities.


def test_identity_has_so_many_bytes_relayed_from_all_its_addresses() -> None:
    few = quota(bytes_per_ip=1000)
    first = reserve(few, "192.0.2.1", key=b"key")
    few.carried(first, 600, NOW)
    second = reserve(few, "192.0.2.2", key=b"key", now=NOW + 1)
    assert few.left(second, 0, NOW + 1) == 400
    few.carried(second, 400, NOW + 1)
    assert few.left(first, 600, NOW + 1) == 0
    assert "has had 1000 bytes relayed within an hour" in few.spent(first, 600)
    with pytest.raises(OverQuotaError, match="for senders of one IP address, or identity") as over:
        reserve(few, "192.0.2.3", key=b"key", now=NOW + 1)
    assert over.value.retry_after == BYTES_TIME - 1
    assert few.left(reserve(few, "192.0.2.2", now=NOW + 1), 0, NOW + 1) == 600


def test_circuits_of_one_identity_share_its_rate() -> None:
    few = quota(bytes_per_second_per_ip=1000, total_bytes_per_second=5000, bytes_per_second=10)
    grants = [reserve(few, f"192.0.2.{number}", key=b"key") for number in range(2)]
    first, second = (few.paces_of(grant) for grant in grants)
    assert [one is other for one, other in zip(first, second, strict=True)] == [
        True,  # of all
        False,  # of the addresses
        True,  # of the identity
        False,  # their own
    ]


# Other limits.


def test_limits_that_change_hold_for_what_is_shared_and_for_new_circuits() -> None:
    changing = quota(max_bytes=1000, bytes_per_second=10)
    old = reserve(changing)
    [own] = changing.paces_of(old)
    limits = RelayLimits(max_bytes=5, bytes_per_ip=100, total_bytes_per_second=20)
    changing.limit_to(limits)
    new = reserve(changing)
    assert (old.limits.max_bytes, new.limits) == (1000, limits)
    assert (changing.left(old, 0, NOW), changing.left(new, 0, NOW)) == (100, 5)
    shared, still_own = changing.paces_of(old)
    assert changing.paces_of(new) == (shared,)
    assert still_own.piece == own.piece
    changing.carried(old, 100, NOW)
    assert changing.left(old, 100, NOW) == 0


def test_nothing_more_is_granted_when_nothing_is_relayed_any_more() -> None:
    changing = quota(max_bytes=1000)
    grant = reserve(changing)
    changing.limit_to(None)
    with pytest.raises(OverQuotaError, match="does not relay") as over:
        reserve(changing)
    assert over.value.retry_after is None
    assert changing.left(grant, 0, NOW) == 1000
    changing.limit_to(RelayLimits())
    reserve(changing)
    assert changing.circuits == 2
