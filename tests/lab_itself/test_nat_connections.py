"""What becomes of single connections in the NATs of the lab, and which ways they take."""

from dataclasses import replace

import pytest

from trio_p2p.testing._internet.packets import (
    ACK,
    ADMIN_PROHIBITED,
    FIN,
    PORT_UNREACHABLE,
    RST,
    SYN,
    TIME_EXCEEDED,
    Endpoint,
    IcmpError,
    Packet,
)
from trio_p2p.testing._internet.sessions import Side

from ..kit.lab import Allocation, NatBehaviour, Refusal
from .nat_bench import (
    HOST,
    INSIDE,
    MASQUERADE,
    OPEN,
    OTHER_HOST,
    OUTSIDE,
    REMOTE,
    STRANGER,
    Bench,
    assert_quotes,
    endpoint,
    segment,
)


def passes(bench: Bench, steps: str) -> list[bool]:
    """Which segments pass of those that words such as ``out:S1`` name: flags and number."""
    mapped = bench.open()
    passed = []
    for step in steps.split():
        direction, what = step.split(":")
        flags = sum({"S": SYN, "A": ACK, "F": FIN, "R": RST}[letter] for letter in what[:-1])
        sequence = 1000 * int(what[-1])
        if direction == "out":
            got = bench.send(segment(HOST, REMOTE, flags, sequence=sequence))
        else:
            got = bench.receive(segment(REMOTE, mapped, flags, sequence=sequence))
        passed.append(got is not None)
    return passed


# What follows on a SYN with the number 1.
CONNECT_CLOSE_LISTEN = "in:S5 out:SA2"
HELD_SYN = "in:S5 out:SA1 in:SA5 out:A1 in:A5"
ANOTHER_TRY = "out:S2 in:SA5 out:A2"
ANOTHER_TRY_TOO_LATE = "in:S5 out:S2"
ANOTHER_TRY_OF_THE_PEER = "in:S5 in:S6"
SECOND_CONNECTION = "in:SA5 out:A1 out:FA1 in:FA5 out:S2 in:SA6 out:A2"


@pytest.mark.parametrize("tracks_isn", [False, True])
@pytest.mark.parametrize(
    ("steps", "last_passes"),
    [
        (CONNECT_CLOSE_LISTEN, False),
        (HELD_SYN, True),
        (ANOTHER_TRY, True),
        (ANOTHER_TRY_TOO_LATE, False),
        (ANOTHER_TRY_OF_THE_PEER, False),
        (SECOND_CONNECTION, True),
    ],
)
def test_once_both_have_sent_a_syn_only_a_nat_without_tracking_passes_another(
    steps: str,
    last_passes: bool,
    tracks_isn: bool,
) -> None:
    passed = passes(Bench(replace(MASQUERADE, tracks_isn=tracks_isn)), steps)
    assert all(passed[:-1])
    assert passed[-1] is (last_passes or not tracks_isn)


def test_peer_let_in_may_try_again_until_it_is_answered() -> None:
    bench = Bench(replace(OPEN, tracks_isn=True))
    mapped = bench.open()
    for sequence in (1, 2):
        assert bench.receive(segment(STRANGER, mapped, sequence=sequence)) is not None
    assert bench.send(segment(HOST, STRANGER, SYN | ACK)) is not None
    assert bench.receive(segment(STRANGER, mapped, sequence=3)) is None


@pytest.mark.parametrize("sender", Side)
def test_rst_ends_a_connection_at_once(sender: Side) -> None:
    bench = Bench(MASQUERADE)
    mapped = bench.open()
    if sender is Side.OUTSIDE:
        got = bench.receive(segment(REMOTE, mapped, RST | ACK))
        assert got is not None
        assert got.destination == HOST
    else:
        assert bench.send(segment(HOST, REMOTE, RST)) is not None
    assert not bench.lets_in(REMOTE, mapped)


def test_mapping_lasts_as_long_as_one_of_its_connections() -> None:
    bench = Bench(NatBehaviour(allocation=Allocation.RANDOM))
    mapped = bench.open(HOST, REMOTE)
    assert bench.open(HOST, STRANGER) == mapped
    bench.receive(segment(REMOTE, mapped, RST))
    assert bench.open(HOST, REMOTE) == mapped
    for remote in (REMOTE, STRANGER):
        bench.receive(segment(remote, mapped, RST))
    assert bench.open(HOST, REMOTE) != mapped


@pytest.mark.parametrize("closes_on_icmp", [False, True])
@pytest.mark.parametrize("error", [ADMIN_PROHIBITED, PORT_UNREACHABLE, TIME_EXCEEDED])
def test_icmp_error_reaches_its_host_and_ends_a_connection_only_if_it_may(
    error: IcmpError,
    closes_on_icmp: bool,
) -> None:
    bench = Bench(replace(MASQUERADE, closes_on_icmp=closes_on_icmp))
    sent = bench.send(segment(HOST, REMOTE, ttl=2))
    assert sent is not None
    report = sent.report(error, STRANGER.address)
    assert report is not None
    got = bench.receive(report)
    assert got is not None
    assert (got.error, got.source.address) == (error, STRANGER.address)
    assert got.destination.address == HOST.address
    assert_quotes(got, HOST, REMOTE)
    quote = got.quote()
    assert quote is not None
    assert quote.ttl == 1  # which is what a guard against Time Exceeded goes by
    is_closed = closes_on_icmp and error != TIME_EXCEEDED
    assert bench.lets_in(REMOTE, sent.source) is not is_closed


def test_icmp_error_gets_out_in_the_name_of_the_nat() -> None:
    bench = Bench(OPEN)
    mapped = bench.open()
    got = bench.receive(segment(STRANGER, mapped))
    assert got is not None
    report = got.report(ADMIN_PROHIBITED, HOST.address)
    assert report is not None
    sent = bench.send(report)
    assert sent is not None
    assert (sent.source.address, sent.destination.address) == (OUTSIDE, STRANGER.address)
    assert_quotes(sent, STRANGER, mapped)


def test_icmp_error_about_nothing_known_is_dropped() -> None:
    bench = Bench(NatBehaviour())
    about = [segment(Endpoint(OUTSIDE, 5000), REMOTE), segment(REMOTE, HOST)]
    for sender, packet in zip([Side.OUTSIDE, Side.INSIDE], about, strict=True):
        report = packet.report(TIME_EXCEEDED, STRANGER.address)
        assert report is not None
        assert bench.handle(sender, report) is None


# Forgetting


def test_connection_is_forgotten_after_its_lifetime_of_silence() -> None:
    bench = Bench(replace(MASQUERADE, lifetime=1000, transitory_lifetime=100))
    mapped = bench.open()
    bench.now = 99
    bench.receive(segment(REMOTE, mapped, SYN | ACK))
    bench.now = 198
    bench.send(segment(HOST, REMOTE, ACK))
    bench.now = 1197
    assert bench.lets_in(REMOTE, mapped, ACK)
    bench.now = 2197
    assert not bench.lets_in(REMOTE, mapped, ACK)


def test_half_closed_connection_is_remembered_like_an_open_one() -> None:
    bench = Bench(replace(MASQUERADE, lifetime=1000, transitory_lifetime=100, picks_up=False))
    mapped = bench.open()
    for flags in (SYN | ACK, FIN | ACK):
        bench.receive(segment(REMOTE, mapped, flags))
    bench.now = 999
    assert bench.send(segment(HOST, REMOTE, FIN | ACK)) is not None
    bench.now = 1098
    assert bench.lets_in(REMOTE, mapped, ACK)
    bench.now = 1198
    assert not bench.lets_in(REMOTE, mapped, ACK)


@pytest.mark.parametrize("picks_up", [False, True])
def test_forgotten_connection_goes_on_only_where_the_nat_picks_it_up(
    picks_up: bool,
) -> None:
    bench = Bench(replace(MASQUERADE, picks_up=picks_up))
    mapped = bench.open()
    bench.receive(segment(REMOTE, mapped, SYN | ACK))
    bench.nat.forget()
    assert not bench.lets_in(REMOTE, mapped, ACK)
    assert (bench.send(segment(HOST, REMOTE, ACK)) is not None) is picks_up
    assert bench.lets_in(REMOTE, mapped, ACK) is picks_up
    assert bench.send(segment(OTHER_HOST, REMOTE, RST)) is None


# Hops, hairpins


def test_time_exceeded_comes_from_the_side_of_the_sender_and_opens_nothing() -> None:
    bench = Bench(OPEN)
    report = bench.answer(Side.INSIDE, segment(HOST, REMOTE, ttl=1))
    assert report is not None
    assert (report.error, report.source.address) == (TIME_EXCEEDED, INSIDE)
    assert not bench.lets_in(REMOTE, Endpoint(OUTSIDE, HOST.port))
    mapped = bench.open()
    report = bench.answer(Side.OUTSIDE, segment(STRANGER, mapped, ttl=1))
    assert report is not None
    assert (report.error, report.source.address) == (TIME_EXCEEDED, OUTSIDE)
    assert_quotes(report, STRANGER, mapped)


def test_nat_counts_the_ttl_down() -> None:
    bench = Bench(NatBehaviour())
    sent = bench.send(segment(HOST, REMOTE, ttl=7))
    assert sent is not None
    got = bench.receive(segment(REMOTE, sent.source, SYN | ACK, ttl=7))
    assert got is not None
    assert sent.ttl == got.ttl == 6


def test_two_nats_make_one_way() -> None:
    home = Bench(NatBehaviour(), outside=endpoint("100.64.1.2", 0).address)
    carrier = Bench(MASQUERADE, inside=endpoint("100.64.1.1", 0).address)
    between = home.send(segment(HOST, REMOTE, ttl=3))
    assert between is not None
    sent = carrier.send(between)
    assert sent is not None
    assert (sent.source.address, sent.ttl) == (OUTSIDE, 1)
    report = sent.report(TIME_EXCEEDED, STRANGER.address)
    assert report is not None
    between = carrier.receive(report)
    assert between is not None
    got = home.receive(between)
    assert got is not None
    assert got.destination.address == HOST.address
    assert_quotes(got, HOST, REMOTE)


def turn_around(bench: Bench, source: Endpoint, target: Endpoint) -> Packet | None:
    """What comes to hosts inside of a packet of one of them to the address outside."""
    return bench.answer(Side.INSIDE, segment(source, target))


def test_hairpin_leads_to_the_other_host_in_the_name_of_the_nat() -> None:
    bench = Bench(replace(OPEN, hairpins=True))
    mapped = bench.open(OTHER_HOST)
    got = turn_around(bench, HOST, mapped)
    assert got is not None
    assert got.destination == OTHER_HOST
    assert got.source.address == OUTSIDE
    assert got.ttl == 63


def test_hairpin_is_filtered() -> None:
    bench = Bench(NatBehaviour(hairpins=True, refusal=Refusal.RST))
    mapped, others = bench.open(HOST), bench.open(OTHER_HOST)
    refusal = turn_around(bench, HOST, others)
    assert refusal is not None
    assert (refusal.source, refusal.destination) == (others, HOST)
    assert refusal.flags & RST
    silent = Bench(NatBehaviour(hairpins=True))
    mapped, others = silent.open(HOST), silent.open(OTHER_HOST)
    assert turn_around(silent, HOST, others) is None
    got = turn_around(silent, OTHER_HOST, mapped)
    assert got is not None
    assert (got.source, got.destination) == (others, HOST)


def test_without_hairpins_the_address_outside_refuses_hosts_inside() -> None:
    bench = Bench(replace(OPEN, refusal=Refusal.RST))
    mapped = bench.open(OTHER_HOST)
    answer = turn_around(bench, HOST, mapped)
    assert answer is not None
    assert (answer.source, answer.destination, answer.flags) == (mapped, HOST, RST | ACK)
