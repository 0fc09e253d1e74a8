"""Tables with shares, and counts in windows of time."""

from hypothesis import given, strategies as st

from trio_p2p._broker.shares import Shares, Windows


def test_newest_entry_takes_the_place_of_the_oldest_of_its_source() -> None:
    shares: Shares[str, str, int] = Shares(each=2, total=10)
    assert [shares.put("a", "one", 1), shares.put("b", "other", 0), shares.put("a", "two", 2)] == [
        None,
        None,
        None,
    ]
    assert shares.put("a", "three", 3) == "one"
    assert [shares.get(key) for key in ("one", "two", "three", "other")] == [None, 2, 3, 0]


def test_full_table_loses_the_oldest_of_all() -> None:
    shares: Shares[str, str, int] = Shares(each=2, total=2)
    shares.put("a", "one", 1)
    shares.put("b", "two", 2)
    assert shares.put("c", "three", 3) == "one"
    assert shares.oldest == ("two", 2)


def test_key_that_is_put_again_is_the_newest() -> None:
    shares: Shares[str, str, int] = Shares(each=2, total=10)
    shares.put("a", "one", 1)
    shares.put("a", "two", 2)
    assert shares.put("a", "one", 10) is None
    assert shares.put("a", "three", 3) == "two"
    assert shares.get("one") == 10


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans()), max_size=80))
def test_shares_are_never_exceeded_and_nothing_is_left(
    steps: list[tuple[int, int, bool]],
) -> None:
    shares: Shares[int, int, int] = Shares(2, 5, 3, lambda source: source // 2)
    for source, key, is_put in steps:
        if is_put:
            shares.put(source, key, source)
            assert shares.get(key) == source
        else:
            shares.pop(key)
            assert shares.get(key) is None
        assert len(shares) <= 5
        held = shares._keys_of.items()
        assert all(0 < len(keys) <= {"source": 2, "group": 3}[what] for (what, _), keys in held)
        assert sum(len(keys) for _, keys in held) == 2 * len(shares)
    while shares.oldest is not None:
        shares.pop(shares.oldest[0])
    assert not shares._keys_of


def test_sources_of_one_group_push_out_each_other_and_no_others() -> None:
    shares: Shares[str, str, int] = Shares(2, 6, 3, lambda source: source[0])
    shares.put("b1", "honest", 1)
    replaced = [shares.put(f"a{number}", f"squatted {number}", 0) for number in range(10)]
    assert replaced[:3] == [None] * 3
    assert replaced[3:] == [f"squatted {number}" for number in range(7)]
    assert shares.get("honest") == 1
    assert len(shares) == 4


def test_windows_count_for_each_source() -> None:
    windows = Windows(seconds=10, total=100)
    assert [windows.count("a", 0.0), windows.count("a", 5.0), windows.count("b", 9.0)] == [1, 2, 1]
    assert windows.rest("a", 5.0) == 5.0
    assert windows.count("a", 10.0) == 1  # the next one
    assert windows.rest("b", 10.0) == 9.0
    assert windows.rest("c", 10.0) == windows.rest("b", 100.0) == 0.0


def test_windows_remember_so_many_sources() -> None:
    windows = Windows(seconds=10, total=2)
    for source in "abc":
        windows.count(source, 0.0)
    assert [windows.count("b", 1.0), windows.count("a", 1.0)] == [2, 1]
    assert len(windows._windows) == 2
