"""Tables and progress, in plain text and by rich, and which of them is chosen."""

import io
import re
import sys
from ipaddress import ip_address

import pytest
from hypothesis import given, strategies as st

from trio_p2p import Endpoint, PathKind, StreamPath, Technique
from trio_p2p._commands.layout import Column, Layout, Tone, table
from trio_p2p._commands.layouts import layout_for
from trio_p2p._commands.plain_layout import PlainLayout
from trio_p2p._commands.rich_layout import RichLayout
from trio_p2p._files.tally import Tally

from ..kit.terminals import COLUMNS, lines_of_screen, open_terminal

HERE = Endpoint(ip_address("192.0.2.1"), 1)
DIRECT = StreamPath(PathKind.DIRECT, Technique.FAST, HERE, HERE)
RELAY = StreamPath(PathKind.RELAY, Technique.RELAY, HERE, HERE)

COLUMNS_OF_PINGS = (Column("#", 3, is_number=True), Column("round trip", 10), Column("path"))
HALF = Tally(1, 2**20, 0, 2**19)
LONG = Tally(999, 9 * 10**11, 998, 8 * 10**11)
MARKUP = "[red]x[/red] [link=http://example.org]y[/link] :smile: 42 192.0.2.1 [/]"
STYLES = r"\x1b\[(?:\d+(?:;\d+)*)?m"
COLOURS = r"\x1b\[(?:3\d|9\d|38;[\d;]+)m"


@pytest.fixture(autouse=True)
def _colour_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def seen(text: str) -> list[str]:
    return lines_of_screen(text.replace("\n", "\r\n").encode())


def layout_in_terminal(encoding: str = "utf-8") -> Layout:
    with open_terminal() as (_, streams), io.TextIOWrapper(streams, encoding=encoding) as stream:
        return layout_for(stream)


def test_rich_in_a_terminal() -> None:
    assert isinstance(layout_in_terminal(), RichLayout)


@pytest.mark.parametrize("term", ["dumb", "unknown", None])
def test_plain_in_a_dumb_terminal(term: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if term is None:
        monkeypatch.delenv("TERM")
    else:
        monkeypatch.setenv("TERM", term)
    assert isinstance(layout_in_terminal(), PlainLayout)


def test_plain_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # what reads the output may be a program still
    assert isinstance(layout_for(io.StringIO()), PlainLayout)
    assert isinstance(layout_for(None), PlainLayout)


def test_plain_where_bars_cannot_be_shown() -> None:
    assert isinstance(layout_in_terminal("ascii"), PlainLayout)


def test_plain_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trio_p2p._commands.rich_layout")
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert isinstance(layout_in_terminal(), PlainLayout)


def test_plain_table() -> None:
    rows = [("1", "1.5 ms", "direct"), ("10", "100.5 ms", "relay")]
    assert table(PlainLayout(), COLUMNS_OF_PINGS, rows).split("\n") == [
        "  1  1.5 ms      direct",
        " 10  100.5 ms    relay",
    ]


def test_rich_table() -> None:
    rows = [("1", "1.5 ms", "direct"), ("10", "100.5 ms", "relay")]
    text = table(RichLayout(COLUMNS), COLUMNS_OF_PINGS, rows)
    assert seen(text) == [
        "  #  round trip  path",
        "  1  1.5 ms      direct",
        " 10  100.5 ms    relay",
    ]


def test_a_table_without_titles_has_no_header() -> None:
    assert RichLayout(COLUMNS).header([Column(), Column()]) == []


@pytest.mark.parametrize(
    ("tone", "colour"), [(Tone.GOOD, "32"), (Tone.FAIR, "33"), (Tone.BAD, "31")]
)
def test_colours_of_tones(tone: Tone, colour: str) -> None:
    row = RichLayout(COLUMNS).row(COLUMNS_OF_PINGS, ("1", "2", "path"), tone)
    assert row.endswith(f"\x1b[{colour}mpath\x1b[0m")


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    layout = RichLayout(COLUMNS)
    text = layout.row(COLUMNS_OF_PINGS, ("1", "2", "path"), Tone.GOOD)
    text += layout.progress(HALF, 1000, None) + layout.title("title")
    assert not re.search(COLOURS, text)


@pytest.mark.parametrize("layout", [PlainLayout(COLUMNS), RichLayout(COLUMNS)])
def test_a_long_last_cell_goes_on_below_itself(layout: Layout) -> None:
    cells = ("1", "2", " ".join(["192.0.2.1:65535"] * 9))
    first, *others = seen(layout.row(COLUMNS_OF_PINGS, cells, Tone.NEUTRAL))
    assert first.startswith("  1  2           192.0.2.1:65535 192")
    assert all(line.startswith(f"{'':17}192.0.2.1:65535") for line in others)
    assert len(others) == 2


@pytest.mark.parametrize("layout", [PlainLayout(COLUMNS), RichLayout(COLUMNS)])
def test_words_of_peers_are_no_markup(layout: Layout) -> None:
    assert seen(layout.row([Column("", 3), Column()], ("[b]x", MARKUP)))[0].split() == [
        "[b]x",
        *MARKUP.split(),
    ]
    assert seen(layout.title(MARKUP)) == [MARKUP]


@given(st.text(), st.sampled_from([PlainLayout(COLUMNS), RichLayout(COLUMNS)]))
def test_words_of_peers_obey_nothing(text: str, layout: Layout) -> None:
    shown = layout.row([Column("", 5), Column()], ("x", f"{text}\x1b[2J\x07")) + layout.title(text)
    unstyled = re.sub(STYLES, "", shown)
    assert "�[2J�" in re.sub(r"\s", "", unstyled)
    assert re.sub(r"[\n\t\xa0]", "", unstyled).isprintable()


@pytest.mark.parametrize("path", [DIRECT, RELAY, None])
@pytest.mark.parametrize("tally", [HALF, LONG, Tally(1, 0)])
@pytest.mark.parametrize("columns", [30, COLUMNS])
@pytest.mark.parametrize("kind", [PlainLayout, RichLayout])
def test_progress_is_one_line(
    kind: type[PlainLayout | RichLayout], columns: int, tally: Tally, path: StreamPath | None
) -> None:
    layout = kind(columns)
    [line] = seen("\r" + layout.progress(tally, 10**8, path))
    assert len(line) < columns
    percent = {0.5: " 50 %", 0: "100 %"}.get(tally.size and tally.left / tally.size, " 88 %")
    assert percent in line


@pytest.mark.parametrize("layout", [PlainLayout(COLUMNS), RichLayout(COLUMNS)])
def test_progress_hides_a_longer_line(layout: Layout) -> None:
    lines = [layout.progress(HALF, 12345, None), layout.progress(HALF, None, DIRECT)]
    assert seen("\r" + "\r".join(lines)) == seen("\r" + lines[1])


def test_progress_by_rich() -> None:
    layout = RichLayout(COLUMNS)
    line = layout.progress(HALF, 2**18, RELAY)
    assert seen(line) == [
        "━━━━━━━━━━╺━━━━━━━━━  50 %  512.0 KiB of 1.0 MiB  256.0 KiB/s  0:02 left  relay"
    ]
    assert line.endswith("\x1b[33mrelay\x1b[0m\x1b[K")
    tally = Tally(3, 2**20, 1, 2**19)
    [several] = seen(layout.progress(tally, None, None))
    assert several.endswith("  50 %  512.0 KiB of 1.0 MiB  2/3  looking for a path")


def test_plain_progress_has_nothing_that_a_terminal_obeys() -> None:
    assert PlainLayout(COLUMNS).progress(LONG, 10**8, DIRECT).isprintable()
