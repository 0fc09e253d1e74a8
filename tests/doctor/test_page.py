"""The doctor's page, also where nothing was found out."""

import json

import attrs

from trio_p2p._commands.doctor import page_text
from trio_p2p._commands.plain_layout import PlainLayout
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
