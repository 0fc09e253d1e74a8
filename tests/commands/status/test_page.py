"""The status page in a real browser: it is live, says no error, and is there for all people."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, expect

from ...kit.browser import find_browser, open_page
from ...kit.commands import BrokerTool, connect, end_both, listen, open_broker

pytestmark = [pytest.mark.once, pytest.mark.slow]

PATIENCE = 30_000  # milliseconds
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
# Where to keep pictures of the page, for people.
PICTURES = os.environ.get("TRIO_P2P_PICTURES")


@pytest.fixture(autouse=True)
def browser() -> None:
    find_browser()
    expect.set_options(timeout=PATIENCE)


@pytest.fixture
def broker() -> Iterator[BrokerTool]:
    with open_broker("--status=127.0.0.1:0", "--drain-grace=20") as broker:
        yield broker


def url_of(broker: BrokerTool) -> str:
    return broker.wait_for("status page on ").split()[-1]


def noted_errors(page: Page) -> list[str]:
    """What the page complains of from now on."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def test_figures_change_by_themselves(broker: BrokerTool, uid: str) -> None:
    with open_page("about:blank", *SIZES["desktop"], is_dark=False) as page:
        errors = noted_errors(page)
        page.goto(url_of(broker))
        expect(page.locator("#state")).to_have_text("serving")
        expect(page.locator("#receivers")).to_have_text("0")
        with listen(broker, uid) as receiver:
            expect(page.locator("#receivers")).to_have_text("1")
            with connect(broker, uid, "--only=relay") as sender:
                assert end_both(receiver, sender, b"x" * 5_000_000, b"y")[0][0] == 0
        expect(page.locator("#receivers")).to_have_text("0")
        expect(page.locator("#introduced-relay")).to_have_text("1")
        expect(page.locator("#relayed-total")).to_have_text("5 MB")
        with connect(broker, "unknown") as stranger:
            assert stranger.end()[0] == 1
        expect(page.locator("#refusals")).to_contain_text("unknown-uid")
        # The next step of the plots.
        expect(page.locator("#receivers-chart polyline")).to_have_count(1)
        expect(page.locator("#relayed-text")).to_have_text("In all: 5 MB")
        assert errors == []


def test_page_shows_that_the_broker_drains_and_is_gone(broker: BrokerTool, uid: str) -> None:
    with (
        open_page(url_of(broker), *SIZES["phone"], is_dark=True) as page,
        listen(broker, uid) as receiver,
        connect(broker, uid, "--only=relay") as sender,
    ):
        expect(page.locator("#circuits")).to_have_text("1")
        broker.tool.process.send_signal(signal.SIGTERM)
        expect(page.locator("#state")).to_have_text("draining")
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
        assert broker.tool.process.wait(60) == 0
        expect(page.locator("#state")).to_have_text("no answer")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_page_is_there_for_all_people(broker: BrokerTool, size: str, *, is_dark: bool) -> None:
    """Contrast, names and roles, as axe-core checks them; and nothing sticks out of a phone."""
    width, height = SIZES[size]
    with open_page(url_of(broker), width, height, is_dark=is_dark) as page:
        expect(page.locator("#state")).to_have_text("serving")
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if PICTURES:
            name = f"{size}-{'dark' if is_dark else 'light'}.png"
            page.screenshot(path=Path(PICTURES, name), full_page=size == "phone")


def test_page_works_by_keyboard(broker: BrokerTool, uid: str) -> None:
    with open_page(url_of(broker), *SIZES["desktop"], is_dark=False) as page:
        expect(page.locator("#receivers")).to_have_text("0")
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        expect(page.locator(".skip")).to_be_in_viewport()
        page.keyboard.press("Tab")
        pause = page.locator("#pause")
        expect(pause).to_be_focused()
        page.keyboard.press("Enter")
        expect(pause).to_have_attribute("aria-pressed", "true")
        with listen(broker, uid):
            page.wait_for_timeout(2500)  # two looks at the broker
            assert page.locator("#receivers").text_content() == "0"
            page.keyboard.press("Space")
            expect(pause).to_have_attribute("aria-pressed", "false")
            expect(page.locator("#receivers")).to_have_text("1")
