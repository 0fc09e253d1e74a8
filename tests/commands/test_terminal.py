"""Text fits a terminal, and has nothing in it that a terminal would obey."""

import io
import re

import pytest
from hypothesis import given, strategies as st

from trio_p2p._commands.terminal import MAX_COLUMNS, columns_of, ending_of, fitted, harmless, tied

from ..kit.terminals import open_terminal


@pytest.mark.parametrize(("size", "columns"), [(40, 40), (80, 80), (200, MAX_COLUMNS), (0, 80)])
def test_columns_of_a_terminal(size: int, columns: int) -> None:
    with open_terminal(size) as (_, streams), io.TextIOWrapper(streams) as stream:
        assert columns_of(stream) == columns


def test_what_is_no_terminal() -> None:
    assert columns_of(None) is None
    assert columns_of(io.StringIO()) is None


class _Replaced(io.StringIO):
    """A stream that says of itself to be a terminal, as some programs that show output do."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_without_a_file() -> None:
    assert columns_of(_Replaced()) == MAX_COLUMNS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("über → 日本\n\tx", "über → 日本\n\tx"),
        ("\x1b[2J", "�[2J"),
        ("a\rb\x07\x08\x9b", "a�b���"),
        ("\u202egpj.exe", "�gpj.exe"),
        ("[red]x[/red]", "[red]x[/red]"),
    ],
)
def test_harmless(text: str, shown: str) -> None:
    assert harmless(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("12345", "12345"),
        ("123456", "…3456"),
        ("日本", "日本"),
        ("日本語", "…本語"),
        ("日本1語", "…1語"),
        ("e\N{COMBINING ACUTE ACCENT}2345", "e\N{COMBINING ACUTE ACCENT}2345"),
    ],
)
def test_endings(text: str, shown: str) -> None:
    assert ending_of(text, 5) == shown


@given(st.text())
def test_any_text_is_harmless(text: str) -> None:
    assert re.sub(r"[\n\t\xa0]", "", harmless(text)).isprintable()
    assert len(harmless(text)) == len(text)


def test_words_are_not_broken() -> None:
    word = "x" * 30
    assert fitted(f"run this: {word} now", 20) == f"run this:\n  {word}\n  now"
    assert fitted("twelve-letter words-stay", 14, "") == "twelve-letter\nwords-stay"


def test_what_is_tied_is_copied_as_one() -> None:
    text = f"run: {tied('trio-p2p connect 12345-elephant')} now"
    assert fitted(text, 20) == "run:\n  trio-p2p connect 12345-elephant\n  now"
    assert fitted(text, None) == "run: trio-p2p connect 12345-elephant now"


def test_each_of_several_lines_is_fitted() -> None:
    assert fitted("a  b\n\naaaa bbbb", 6) == "a  b\n\naaaa\n  bbbb"


def test_lines_for_programs_stay() -> None:
    assert fitted("x " * 100, None) == "x " * 100


@given(st.lists(st.text("abc-./:", min_size=1, max_size=20)), st.integers(24, 80))
def test_fitted_lines_fit_and_lose_no_word(words: list[str], columns: int) -> None:
    text = fitted(" ".join(words), columns)
    assert text.split() == words
    assert all(len(line) <= columns for line in text.split("\n"))
