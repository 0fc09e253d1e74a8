"""The slots for introductions: no source, and no identity at one source, keeps others out."""

from collections import Counter

from hypothesis import given, strategies as st

from trio_p2p._listen.slots import Holder, Slot, Slots

COUNT = 8
ATTACKER = Holder("attacker", "key")

holders = st.builds(Holder, st.sampled_from("abcd"), st.sampled_from("xyz"))


def ask(slots: Slots, holder: Holder) -> tuple[Slot | None, Slot | None]:
    """The slot that a newcomer gets, and that which gave way to it."""
    loser = None
    if slots.is_full:
        loser = slots.giving_way_to(holder)
        if loser is None:
            return None, None
        slots.release(loser)
    return slots.take(holder), loser


def full_of(holder: Holder, count: int = COUNT) -> tuple[Slots, list[Slot]]:
    slots = Slots(count)
    return slots, [slots.take(holder) for _ in range(count)]


def test_newcomer_takes_the_oldest_slot_of_the_largest_holder() -> None:
    slots, taken = full_of(ATTACKER)
    got, loser = ask(slots, Holder("other", "key"))
    assert got is not None
    assert loser is taken[0]
    assert len(slots) == COUNT


def test_largest_holder_waits() -> None:
    slots, _ = full_of(ATTACKER)
    assert ask(slots, ATTACKER) == (None, None)


def test_identities_at_one_source_share_too() -> None:
    slots, taken = full_of(ATTACKER)
    got, loser = ask(slots, Holder("attacker", "another key"))
    assert got is not None
    assert loser is taken[0]


def test_what_is_proven_does_not_give_way() -> None:
    slots, taken = full_of(ATTACKER)
    for slot in taken[:3]:
        slot.is_proven = True
    got, loser = ask(slots, Holder("other", "key"))
    assert loser is taken[3]
    assert got is not None
    for slot in (*taken, got):
        slot.is_proven = True
    assert ask(slots, Holder("third", "key"))[0] is None


def test_flood_by_one_source_leaves_all_others_their_slots() -> None:
    slots, _ = full_of(ATTACKER)
    others = [Holder(f"source {number}", "key") for number in range(COUNT - 1)]
    got = [ask(slots, other)[0] for other in others]
    for number in range(100):
        ask(slots, ATTACKER)
        ask(slots, Holder("attacker", number))
    assert all(slot is not None and slot in slots for slot in got)


def test_slot_is_released_once() -> None:
    slots, taken = full_of(ATTACKER)
    slots.release(taken[0])
    slots.release(taken[0])
    assert len(slots) == COUNT - 1
    assert not slots.is_full


@given(st.lists(st.tuples(holders, st.sampled_from(["ask", "prove", "release"]))))
def test_sharing_never_makes_it_less_fair(steps: list[tuple[Holder, str]]) -> None:
    slots = Slots(COUNT)
    taken: list[Slot] = []
    for holder, step in steps:
        if step == "ask":
            sources = Counter(slot.holder.source for slot in taken)
            of_holders = Counter(slot.holder for slot in taken)
            was_full = slots.is_full
            got, loser = ask(slots, holder)
            if loser is not None:
                assert was_full
                assert not loser.is_proven
                assert sources[loser.holder.source] > sources[holder.source] or (
                    loser.holder.source == holder.source
                    and of_holders[loser.holder] > of_holders[holder]
                )
                taken.remove(loser)
            if got is not None:
                taken.append(got)
            elif not any(slot.is_proven for slot in taken):
                assert sources[holder.source] == max(sources.values())
        elif taken:
            slot = taken[len(taken) // 2]
            if step == "prove":
                slot.is_proven = True
            else:
                taken.remove(slot)
                slots.release(slot)
        assert len(slots) == len(taken) <= COUNT
        assert all(slot in slots for slot in taken)
