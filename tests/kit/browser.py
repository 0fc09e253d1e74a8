"""A real browser, headless, where there is one."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """The path of a browser; the test is skipped if there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip("there is no Chromium: apt-get install chromium")


@contextmanager
def open_page(url: str, width: int, height: int, *, is_dark: bool) -> Generator[Page]:
    """A page in a window of its own."""
    with sync_playwright() as playwright:
        # Without its sandbox, which root may not use; it visits our own page only.
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if is_dark else "light",
        )
        page.goto(url)
        yield page
        browser.close()
