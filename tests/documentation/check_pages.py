"""The built pages: they lead to every public name, and fit a desk's screen and a phone's.

For the docs session, which has just built them: ``nox -s docs``.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from ..kit.browser import open_page
from ..test_public_surface import NAMES

ROOT = Path(__file__).parents[2]
HTML = ROOT / "docs" / "_build" / "html"
PAGES = sorted(
    str(path.relative_to(HTML))
    for path in HTML.rglob("*.html")
    if not path.is_relative_to(HTML / "_modules")
)
SCREENS = {"desk": (1280, 800), "phone": (375, 667)}
# What sticks out of the page, and does not scroll by itself.
FIND_WIDE = """() => {
    const wide = [];
    for (const each of document.querySelectorAll("article *")) {
        if (each.getBoundingClientRect().right <= window.innerWidth + 1) continue;
        let scrolls = false;
        for (let above = each; above; above = above.parentElement)
            scrolls ||= ["auto", "scroll", "hidden"].includes(getComputedStyle(above).overflowX);
        if (!scrolls) wide.push(each.outerHTML.slice(0, 200));
    }
    return wide;
}"""


@pytest.fixture(scope="module", params=SCREENS)
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    width, height = SCREENS[request.param]
    with open_page("about:blank", width, height, is_dark=False) as opened:
        yield opened


def test_there_are_pages() -> None:
    assert {"index.html", "tutorial.html", "reference.html", "how-to/chat.html"} <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_the_screen(page: Page, name: str) -> None:
    page.goto((HTML / name).as_uri())
    assert page.evaluate(FIND_WIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("name", PAGES)
def test_page_does_not_tell_where_it_was_built(name: str) -> None:
    assert str(ROOT) not in (HTML / name).read_text("utf-8")


def test_every_public_name_is_linked() -> None:
    # Four lines of text, and then a line for each name, compressed.
    *_, compressed = (HTML / "objects.inv").read_bytes().split(b"\n", 4)
    entries = [line.split() for line in zlib.decompress(compressed).decode().splitlines()]
    linked = {name for name, kind, *_ in entries if kind.startswith("py:")}
    assert {f"trio_p2p.{name}" for name in NAMES} <= linked
