"""What is shown of a transfer fits its line, and says how fast it goes."""

import logging
from ipaddress import ip_address

import pytest

from trio_p2p import Endpoint, PathKind, StreamPath, Technique
from trio_p2p._commands.amounts import count_text, size_text, time_text
from trio_p2p._commands.plain_layout import PlainLayout
from trio_p2p._commands.progress import RATE_TIME, Rate
from trio_p2p._commands.receive import MAX_LINES, WIDTH, offer_lines
from trio_p2p._commands.run import is_progress_wanted, notes
from trio_p2p._files.listing import Listing
from trio_p2p._files.messages import Entry
from trio_p2p._files.order import Request
from trio_p2p._files.tally import Tally

from ..files.offers import PEER_ID

HERE = Endpoint(ip_address("192.0.2.1"), 1)
DIRECT = StreamPath(PathKind.DIRECT, Technique.FAST, HERE, HERE)
RELAY = StreamPath(PathKind.RELAY, Technique.RELAY, HERE, HERE)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_575, "1.0 MiB"),
        (64 * 2**20, "64.0 MiB"),
        (999.9 * 2**30, "999.9 GiB"),
        (2**40, "1.0 TiB"),
        (2**63 - 1, "8.0 EiB"),
        (2**73, "8192.0 EiB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.4, "0:59"), (61, "1:01"), (3600, "1:00:00")]
)
def test_times(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_counts() -> None:
    assert [count_text(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


@pytest.mark.parametrize(
    ("tally", "rate", "path", "line"),
    [
        (Tally(1, 0), None, RELAY, "100 %, 0 B of 0 B, relay"),
        (Tally(1, 4096), None, None, "  0 %, 0 B of 4.0 KiB, looking for a path"),
        (
            Tally(3, 4096, 1, 1024, 1024),
            512,
            DIRECT,
            " 50 %, 2.0 KiB of 4.0 KiB, file 2 of 3, 512 B/s, 0:04 left, direct",
        ),
        (
            Tally(3, 4096, 3, 4096, 0),
            0,
            DIRECT,
            "100 %, 4.0 KiB of 4.0 KiB, file 3 of 3, 0 B/s, direct",
        ),
    ],
)
def test_a_line(tally: Tally, rate: float | None, path: StreamPath | None, line: str) -> None:
    assert PlainLayout().progress(tally, rate, path) == line


def test_the_longest_line() -> None:
    line = PlainLayout().progress(Tally(999, 9 * 10**11, 998, 8 * 10**11), 10**8, DIRECT)
    assert len(line) < WIDTH


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.at(0.0, 0) is None
    assert rate.at(1.0, 100) == 100
    for second in range(2, 20):
        assert rate.at(float(second), 100) is not None
    assert rate.at(20.0, 100) == 0
    assert rate.at(21.0, 100 + 50 * int(RATE_TIME)) == pytest.approx(50, rel=0.25)


@pytest.mark.parametrize(
    ("notes_level", "level", "is_wanted"),
    [
        (logging.INFO, logging.WARNING, True),
        (logging.WARNING, logging.WARNING, False),
        (logging.INFO, logging.DEBUG, False),
    ],
    ids=["by default", "quiet", "verbose"],
)
def test_progress_is_wanted(
    notes_level: int, level: int, *, is_wanted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(notes_level, notes.name), caplog.at_level(level):
        assert is_progress_wanted() is is_wanted


def test_an_offer_fits_a_screen() -> None:
    listing = Listing()
    listing.add(Entry("folder"))
    listing.add(Entry("x" * 200, 0, 5 * 2**30))
    for number in range(99):
        listing.add(Entry(f"{number}.jpg", 0, 1000))
    requests = [Request(number, size) for number, size in listing.files()]
    requests[1] = Request(2, 1000, 1000, is_whole=True)
    lines = offer_lines(PEER_ID, listing, requests)
    assert [lines[0], lines[1]] == [f"{PEER_ID} offers", "100 files, 5.0 GiB:"]
    assert lines[2] == f"    5.0 GiB  …{'x' * 55}"
    assert lines[3] == "     1000 B  folder/0.jpg"
    assert lines[-2:] == [
        f"             … and {100 - MAX_LINES} more",
        "1000 B of that seem to be here already",
    ]
    assert len(lines) <= 20
    assert all(len(line) <= WIDTH - len("trio-p2p: ") for line in lines)
