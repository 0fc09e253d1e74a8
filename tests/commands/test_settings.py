"""Settings by options, variables and a file: precedence, and a sentence for each mistake."""

import argparse
from pathlib import Path

import attrs
import pytest

from trio_p2p import LocalProtocolError
from trio_p2p._commands.settings import (
    Sources,
    add_options,
    as_toml,
    load_settings,
    not_reloaded,
    setting,
    switch,
    taken_over,
)


def parse_number(text: str) -> int:
    if not text.isdecimal():
        raise LocalProtocolError(f"{text!r} is no number")
    return int(text)


@attrs.frozen
class Table:
    some_number: int = setting(1, parse_number, "N", "a number", is_reloaded=True)
    maybe: int | None = setting(None, parse_number, "N", "a number, or none", group="others")
    names: tuple[str, ...] = setting((), str, "NAME", "names", group="others")
    quiet: bool = switch("say nothing")


def load(
    *arguments: str, environment: dict[str, str] | None = None, file: Path | None = None
) -> Table:
    parser = argparse.ArgumentParser()
    add_options(parser, Table, {"others": "More of them."})
    options = parser.parse_args(arguments)
    return load_settings(Table, Sources(options, environment or {}, "TOOL_", file))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tool.toml"


def test_defaults() -> None:
    assert load() == Table(1, None, (), quiet=False)


def test_file_comes_behind_variables_and_those_behind_options(file: Path) -> None:
    file.write_text("some-number = 2\nmaybe = 2\nnames = ['a', 'b']\nquiet = true\n")
    assert load(file=file) == Table(2, 2, ("a", "b"), quiet=True)
    environment = {"TOOL_MAYBE": "3", "TOOL_QUIET": "no", "TOOL_NAMES": "c d", "OTHER_MAYBE": "9"}
    assert load(environment=environment, file=file) == Table(2, 3, ("c", "d"), quiet=False)
    found = load("--maybe=4", "--names=e", "--names=f", "--quiet", environment=environment)
    assert found == Table(1, 4, ("e", "f"), quiet=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("some-numbr = 1", "there is no setting 'some-numbr' in {}: did you mean 'some-number'?"),
        ("xyz = 1", "there is no setting 'xyz' in {}"),
        ("maybe = 'x'", "maybe in {}: 'x' is no number"),
        ("maybe = [1, 2]", "maybe in {}: give one value, not a list"),
        ("quiet = 3", "quiet in {}: '3' is neither true nor false"),
        ("quiet", "{} is no TOML: "),
    ],
)
def test_mistakes_in_a_file(file: Path, text: str, sentence: str) -> None:
    file.write_text(text)
    with pytest.raises(LocalProtocolError) as caught:
        load(file=file)
    assert str(caught.value).startswith(sentence.format(file))


def test_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be read"):
        load(file=file)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("TOOL_MAYBEE", "1", "there is no setting 'maybee' for the variable TOOL_MAYBEE: did you"),
        ("TOOL_MAYBE", "x", "TOOL_MAYBE: 'x' is no number"),
        ("TOOL_QUIET", "x", "TOOL_QUIET: 'x' is neither true nor false"),
    ],
)
def test_mistakes_in_the_environment(variable: str, value: str, sentence: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        load(environment={variable: value})
    assert str(caught.value).startswith(sentence)


def test_mistake_in_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load("--maybe=x")
    assert "argument --maybe: 'x' is no number" in capsys.readouterr().err


def test_what_is_shown_can_be_read_again(file: Path) -> None:
    settings = Table(5, None, ("a", 'b "c"'), quiet=True)
    file.write_text(as_toml(settings))
    assert load(file=file) == settings
    assert "# maybe is not set" in file.read_text()


def test_what_a_running_program_takes_over() -> None:
    old, new = Table(1, 1), Table(2, 2)
    assert not_reloaded(old, new) == ["maybe"]
    assert taken_over(old, new) == Table(2, 1)
