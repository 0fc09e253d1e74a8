"""What the pages have to hold: an entry for each error, and each program of ``examples/``."""

import inspect
import re
from pathlib import Path

import pytest

import trio_p2p

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ERRORS = [
    name
    for name, value in inspect.getmembers(trio_p2p, inspect.isclass)
    if issubclass(value, Exception)
]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", ERRORS)
def test_page_says_what_to_do_about_the_error(name: str) -> None:
    page = (DOCS / "troubleshooting.rst").read_text("utf-8")
    assert re.search(rf"^`{name}`\n   \w", page, re.MULTILINE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_page_shows_the_example(name: str) -> None:
    pages = [path.read_text("utf-8") for path in DOCS.rglob("*.rst")]
    assert any(f"examples/{name}\n" in page for page in pages)


def test_marked_lines_are_those_that_differ() -> None:
    page = (DOCS / "how-to" / "migrating.rst").read_text("utf-8")
    before = (ROOT / "examples" / "echo_tcp.py").read_text().splitlines()
    after = (ROOT / "examples" / "echo_p2p.py").read_text().splitlines()
    differing = [number for number, line in enumerate(after, 1) if line not in before]
    assert f":emphasize-lines: {','.join(map(str, differing))}\n" in page
