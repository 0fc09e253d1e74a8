"""What the shell tools take as arguments."""

import pytest

from trio_p2p._commands.arguments import parse_broker_list
from trio_p2p._commands.parsers import make_parser

PIN = "sha256=" + 64 * "0"


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("broker.example.org", [("broker.example.org", 4433)]),
        ("broker.example.org:1", [("broker.example.org", 1)]),
        ("tls://broker.example.org", [("broker.example.org", 4433)]),
        (f"tls://broker.example.org#{PIN}", [("broker.example.org", 4433)]),
        (f"tls://broker.example.org:1#{PIN}", [("broker.example.org", 1)]),
        (
            "192.0.2.1,[2001:db8::1],[2001:db8::1]:1",
            [("192.0.2.1", 4433), ("2001:db8::1", 4433), ("2001:db8::1", 1)],
        ),
    ],
)
def test_port_of_a_broker(text: str, addresses: list[tuple[str, int]]) -> None:
    assert [place.address for place in parse_broker_list(text)] == addresses


@pytest.mark.parametrize(
    "line", [["send", ""], ["receive", "code", "--into", ""], ["send", "a", ""]], ids=str
)
def test_an_empty_path_is_not_this_folder(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(line)
    assert "the path is empty: name a file, or . for this folder" in capsys.readouterr().err
