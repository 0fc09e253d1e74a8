"""What callers hand in, checked: every mistake gets a sentence."""

import pytest

from trio_p2p import LocalProtocolError, Technique
from trio_p2p._parameters import ALL_TECHNIQUES, parse_broker, parse_techniques, parse_uid


@pytest.mark.parametrize("uid", ["a", "alice", "Zoë 🦊", "a b", "x" * 128, "ä" * 64, "../..", "'"])
def test_uid(uid: str) -> None:
    assert parse_uid(uid) == uid


@pytest.mark.parametrize(
    ("uid", "sentence"),
    [
        ("", "'' is no UID: a UID must not be empty"),
        ("x" * 129, "a UID must not be longer than 128 bytes in UTF-8"),
        ("ä" * 65, "a UID must not be longer than 128 bytes in UTF-8"),
        ("a\nb", r"'a\nb' is no UID: a UID must not contain control characters"),
        ("a\x00", "a UID must not contain control characters"),
        ("a\x7f", "a UID must not contain control characters"),
        ("\x1b[2J", "a UID must not contain control characters"),
        ("a\u202eb", "a UID must not contain control characters"),  # right-to-left override
        ("\ud800", "a UID must not contain control characters"),  # cannot be encoded
        (b"alice", "b'alice' is no UID: a UID is text, not bytes"),
        (5, "5 is no UID: a UID is text, not int"),
        (None, "None is no UID: a UID is text, not NoneType"),
    ],
)
def test_bad_uid(uid: str, sentence: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_uid(uid)
    assert sentence in str(caught.value)


def test_long_uid_is_not_repeated_at_length() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_uid("x" * 100_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("broker", "host", "port"),
    [
        ("broker.example.org:4433", "broker.example.org", 4433),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("2001:db8::1:65535", "2001:db8::1", 65535),
        (("broker.example.org", 4433), "broker.example.org", 4433),
        (("::1", 4433), "::1", 4433),
    ],
)
def test_broker(broker: str | tuple[str, int], host: str, port: int) -> None:
    assert parse_broker(broker) == (host, port)


@pytest.mark.parametrize(
    "broker",
    [
        "",
        ":",
        "broker",
        "broker:",
        ":4433",
        "[]:4433",
        "broker:0",
        "broker:65536",
        "broker:-1",
        "broker:+1",
        "broker:4_433",
        "broker: 4433",
        "broker:http",
        "broker:٤٤٣٣",
        "broker:" + "1" * 4000,
        "http://broker:4433/",
        ("broker", 0),
        ("broker", 65536),
        ("broker", "4433"),
        ("broker", 44.33),
        ("", 4433),
        (b"broker", 4433),
        ("broker", 4433, 0, 0),
        ("broker",),
        b"broker:4433",
        None,
        4433,
    ],
    ids=lambda broker: repr(broker)[:30],
)
def test_bad_broker(broker: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_broker(broker)
    assert "is no broker: give HOST:PORT, like 'broker.example.org:4433'" in str(caught.value)


@pytest.mark.parametrize(
    ("techniques", "parsed"),
    [
        (["fast"], (Technique.FAST,)),
        (("classic", "fast"), (Technique.CLASSIC, Technique.FAST)),
        (["fast", Technique.FAST, "classic", "fast"], (Technique.FAST, Technique.CLASSIC)),
        (ALL_TECHNIQUES, (Technique.FAST, Technique.CLASSIC)),
    ],
)
def test_techniques(techniques: list[str], parsed: tuple[Technique, ...]) -> None:
    assert parse_techniques(techniques) == parsed


@pytest.mark.parametrize(
    "techniques",
    [[], (), "", "fast", b"fast", None, ["telepathy"], ["fast", "FAST"], [1], [None], [["fast"]]],
    ids=repr,
)
def test_bad_techniques(techniques: list[str]) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_techniques(techniques)
    assert "fast" in str(caught.value)
    assert "classic" in str(caught.value)
