"""How often a peer guesses ports towards one address."""

from ipaddress import ip_address

from trio_p2p._control.guesses import GUESSES_PER_CONNECTION, GUESSING_INTERVAL, Guesses

HERE, THERE = ip_address("192.0.2.1"), ip_address("192.0.2.2")


def test_guesses_towards_one_address_are_seldom() -> None:
    guesses = Guesses()
    assert guesses.take(HERE, b"first", 0.0)
    assert not guesses.take(HERE, b"second", GUESSING_INTERVAL - 1)
    assert guesses.take(THERE, b"third", GUESSING_INTERVAL - 1)
    assert guesses.take(HERE, b"fourth", GUESSING_INTERVAL)


def test_one_connection_may_be_guessed_for_again() -> None:
    guesses = Guesses()
    granted = [guesses.take(HERE, b"search", float(second)) for second in range(9)]
    assert sum(granted) == GUESSES_PER_CONNECTION == 2
    assert guesses.take(HERE, b"search", GUESSING_INTERVAL)
