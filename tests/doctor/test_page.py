"""The doctor's page, also where nothing was found out."""

import json
import re

import attrs
import pytest

from trio_p2p._commands.doctor import page_text
from trio_p2p._commands.plain_layout import PlainLayout
from trio_p2p._commands.rich_layout import RichLayout
from trio_p2p._doctor.page import as_json, sections_of
from trio_p2p._nat.findings import Survey
from trio_p2p._wire.offer import Allocation

from ..kit.surveys import AT_HOME, BROKER, RANDOM, mapped


def test_nothing_was_found_out() -> None:
    survey = Survey(BROKER)
    assert "not known" in page_text(sections_of(survey), PlainLayout())
    page = json.loads(json.dumps(as_json(survey)))
    assert (page["layers"], page["mapping"], page["port_mapping"]) == (None, None, None)


def test_page_is_narrow() -> None:
    sequential = attrs.evolve(RANDOM, allocation=Allocation.SEQUENTIAL, step=1)
    for nat in (AT_HOME.nat, RANDOM, sequential):
        for router in (None, mapped("100.64.0.9")):
            survey = attrs.evolve(AT_HOME, nat=nat, router=router)
            page = page_text(sections_of(survey), PlainLayout())
            assert max(map(len, page.splitlines())) <= 80


def test_page_by_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words, with bold titles, and colours for what to expect of connections."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    sections = sections_of(attrs.evolve(AT_HOME, nat=RANDOM))
    page, plain = (page_text(sections, layout) for layout in (RichLayout(80), PlainLayout(80)))
    assert re.sub(r"\x1b\[\d*m", "", page) == plain
    assert "\n\x1b[1mConnections to peers\x1b[0m\n" in page
    assert "  \x1b[32mdirect\x1b[0m\n" in page
    assert "  \x1b[33mrelay\x1b[0m\n" in page
